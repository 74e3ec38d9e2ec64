/* SPDX-License-Identifier: MIT */
/* Figures: panels of lines over axes, or of maps, as PNG and SVG. */
#ifndef DJ_SAMPLES_CHART_H
#define DJ_SAMPLES_CHART_H

#include <stdbool.h>
#include <stdint.h>

/* Points are joined in their order. One that is not finite, or not above 0 on a logarithmic axis,
 * is a gap. */
struct chart_series {
    const char *name; /* NULL: not labelled */
    const double *x, *y;
    uint32_t count;
    bool dashed;
    const double *low, *high; /* spread, or NULL */
};

struct chart_axis {
    const char *label; /* NULL: none */
    bool log;          /* ticks are powers of two where every point lies on one, else of ten */
};

struct chart_lines {
    struct chart_axis x, y;
    const struct chart_series *series;
    uint32_t series_count;
};

struct chart_map {
    const float *values; /* [rows][columns], drawn light (low) to dark (high) with a perceptual
                          * colour map; what is not finite is grey */
    uint32_t rows, columns;
    double low, high;
};

struct chart_panel {
    const char *title; /* NULL: none */
    const struct chart_lines *lines;
    const struct chart_map *map; /* one of both */
};

struct chart {
    const char *title; /* NULL: none */
    const struct chart_panel *panels;
    uint32_t panel_count, columns;
};

/* Writes DIR/NAME.png and DIR/NAME.svg, each by way of a temporary file that is renamed. Texts are
 * UTF-8. Returns false, and says why by program_fail. */
bool chart_write(const struct chart *chart, const char *directory, const char *name);

#endif
