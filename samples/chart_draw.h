/* SPDX-License-Identifier: MIT */
/* What the parts of a chart are drawn with. Lengths are points. */
#ifndef DJ_SAMPLES_CHART_DRAW_H
#define DJ_SAMPLES_CHART_DRAW_H

#include "chart.h"

#include <cairo.h>

enum {
    CHART_MAX_TICKS = 16,
};

#define CHART_TEXT 8.5 /* size of most texts */
#define CHART_GAP 5.0  /* between things that belong together */

struct chart_box {
    double x, y, width, height;
};

struct chart_tick {
    double at;     /* of the scale, 0 to 1 */
    char text[32]; /* what follows a ^ is raised */
};

/* One axis: the values that it spans, and where its ticks are. */
struct chart_scale {
    bool log;
    double low, high; /* logarithms if log */
    struct chart_tick ticks[CHART_MAX_TICKS];
    uint32_t tick_count;
};

struct chart_scale chart_scale_fit(const struct chart_lines *lines, bool vertical);

/* Where a value is, 0 to 1 for those that the scale spans; NaN where it has no place. */
double chart_scale_place(const struct chart_scale *scale, double value);

enum chart_align {
    CHART_LEFT,
    CHART_CENTRE,
    CHART_RIGHT,
};

/* Text on the baseline y, in the current colour. */
void chart_text_font(cairo_t *cr, double size, bool bold);
double chart_text_width(cairo_t *cr, const char *text);
void chart_text(cairo_t *cr, double x, double y, enum chart_align align, const char *text);
/* The same with a raised exponent. */
double chart_tick_width(cairo_t *cr, const char *text);
void chart_tick_text(cairo_t *cr, double x, double y, enum chart_align align, const char *text);

void chart_grey(cairo_t *cr, double value);

/* What a panel takes around its plot, and its plot. */
struct chart_space {
    double left, right, top, bottom, width, height;
};

struct chart_space chart_lines_space(cairo_t *cr, const struct chart_lines *lines);
struct chart_space chart_map_space(cairo_t *cr, const struct chart_map *map);

/* Draw into the box of the plot and around it. Return false if memory is short. */
bool chart_lines_draw(cairo_t *cr, const struct chart_lines *lines, const struct chart_box *plot);
bool chart_map_draw(cairo_t *cr, const struct chart_map *map, const struct chart_box *plot);

#endif
