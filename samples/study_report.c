/* SPDX-License-Identifier: MIT */
/* Errors as tables, as a figure and as a file of comma-separated values. */
#include "chart.h"
#include "program.h"
#include "study.h"
#include "whole_file.h"

#include <math.h>
#include <stdio.h>

static const char *const measure_names[STUDY_MEASURES] = {"kernel", "weights", "output"};

static void print_value(double value)
{
    if (isfinite(value))
        printf(" %8.3f", value);
    else
        printf(" %8s", "overflow");
}

static void print_counts(const struct study_errors *errors, int measure, int scale)
{
    printf("\n%s: error by number of features, deviation %.2f\n%-28s", measure_names[measure],
           errors->spread[scale], "");
    for (uint32_t i = 0; i < errors->counts; i++)
        printf(" %8u", errors->features[i]);
    printf("\n");
    for (int method = 0; method < STUDY_METHODS; method++) {
        printf("%-28s", study_method_title(method));
        for (uint32_t i = 0; i < errors->counts; i++)
            print_value(errors->values[measure][scale][method][i].median);
        printf("\n");
    }
    printf("%-28s %8.3f\n", "the plain mean", errors->uniform[measure][scale]);
}

static void print_scales(const struct study_errors *errors, int measure)
{
    printf("\n%s: error as a share of the plain mean's by deviation, %u features\n%-28s",
           measure_names[measure], errors->features[errors->base], "");
    for (int i = 0; i < STUDY_SCALES; i++)
        printf(" %8.2f", errors->spread[i]);
    printf("\n");
    for (int method = 0; method < STUDY_METHODS; method++) {
        printf("%-28s", study_method_title(method));
        for (int i = 0; i < STUDY_SCALES; i++)
            print_value(errors->values[measure][i][method][errors->base].median /
                        errors->uniform[measure][i]);
        printf("\n");
    }
}

void study_errors_print(const struct study_errors *errors)
{
    printf("\nerrors: medians of %u seeds; deviation is the standard deviation of scale q.k over "
           "the\ncausal pairs, at the data's own scale and at others\n",
           errors->seeds);
    for (int measure = 0; measure < STUDY_MEASURES; measure++) {
        print_counts(errors, measure, STUDY_SCALE_LEAST);
        print_counts(errors, measure, STUDY_SCALE_OWN);
    }
    print_scales(errors, STUDY_OUTPUT);
}

enum {
    MOST_POINTS = STUDY_COUNTS > STUDY_SCALES ? STUDY_COUNTS : STUDY_SCALES
};

/* One panel's lines, with the numbers that they point to. */
struct plot {
    uint32_t points;
    double x[MOST_POINTS], uniform[MOST_POINTS];
    struct {
        double y[MOST_POINTS], low[MOST_POINTS], high[MOST_POINTS];
    } methods[STUDY_METHODS];
    struct chart_series series[STUDY_METHODS + 1];
    struct chart_lines lines;
};

static void add_point(struct plot *p, const struct study_errors *errors, int measure, int scale,
                      uint32_t count, double x)
{
    const uint32_t i = p->points++;
    p->x[i] = x;
    p->uniform[i] = errors->uniform[measure][scale];
    for (int method = 0; method < STUDY_METHODS; method++) {
        const struct study_value *value = &errors->values[measure][scale][method][count];
        p->methods[method].y[i] = value->median;
        p->methods[method].low[i] = value->low;
        p->methods[method].high[i] = value->high;
    }
}

/* Names stand once in a row of panels, at its end. */
static void join_points(struct plot *p, const char *label, bool named)
{
    for (int method = 0; method < STUDY_METHODS; method++)
        p->series[method] = (struct chart_series){.name = named ? study_method_title(method) : NULL,
                                                  .x = p->x,
                                                  .y = p->methods[method].y,
                                                  .count = p->points,
                                                  .low = p->methods[method].low,
                                                  .high = p->methods[method].high};
    p->series[STUDY_METHODS] = (struct chart_series){.name = named ? "the plain mean" : NULL,
                                                     .x = p->x,
                                                     .y = p->uniform,
                                                     .count = p->points,
                                                     .dashed = true};
    p->lines = (struct chart_lines){.x = {.label = label, .log = true},
                                    .y = {.label = "relative error", .log = true},
                                    .series = p->series,
                                    .series_count = STUDY_METHODS + 1};
}

int study_errors_draw(const struct study_errors *errors, const char *directory)
{
    static const char *const measures[STUDY_MEASURES] = {"kernel", "attention weights",
                                                         "attention output"};
    enum {
        ROWS = 3, /* two over features, one over scales */
        PANELS = ROWS * STUDY_MEASURES
    };
    static struct plot plots[PANELS];
    static char titles[PANELS][96];
    struct chart_panel panels[PANELS];
    for (int i = 0; i < PANELS; i++) {
        const int measure = i % STUDY_MEASURES, row = i / STUDY_MEASURES;
        const bool named = measure == STUDY_MEASURES - 1;
        struct plot *const p = &plots[i];
        *p = (struct plot){0};
        if (row < 2) {
            const int scale = row == 0 ? STUDY_SCALE_LEAST : STUDY_SCALE_OWN;
            for (uint32_t count = 0; count < errors->counts; count++)
                add_point(p, errors, measure, scale, count, errors->features[count]);
            join_points(p, "features m", named);
            snprintf(titles[i], sizeof(titles[i]), "%s, deviation of scale q·k %.2f",
                     measures[measure], errors->spread[scale]);
        } else {
            for (int scale = 0; scale < STUDY_SCALES; scale++)
                add_point(p, errors, measure, scale, errors->base, errors->spread[scale]);
            join_points(p, "deviation of scale q·k", named);
            snprintf(titles[i], sizeof(titles[i]), "%s, %u features", measures[measure],
                     errors->features[errors->base]);
        }
        panels[i] = (struct chart_panel){.title = titles[i], .lines = &p->lines};
    }
    char title[120];
    snprintf(title, sizeof(title),
             "Errors against exact softmax attention: median, least and most of %u seeds",
             errors->seeds);
    const struct chart chart = {
        .title = title, .panels = panels, .panel_count = PANELS, .columns = STUDY_MEASURES};
    return chart_write(&chart, directory, "errors") ? PROGRAM_SUCCESS : PROGRAM_FAILURE;
}

static void write_row(FILE *stream, const struct study_errors *errors, int measure, int scale,
                      const char *method, uint32_t features, uint32_t seeds,
                      const struct study_value *value)
{
    fprintf(stream, "%s,%s,%u,%g,%.6g,%u,%.6g,%.6g,%.6g\n", measure_names[measure], method,
            features, errors->multiples[scale], errors->spread[scale], seeds, value->median,
            value->low, value->high);
}

int study_errors_write(const struct study_errors *errors, const char *directory)
{
    struct whole_file file;
    if (!whole_file_open(&file, directory, "errors", ".csv"))
        return PROGRAM_FAILURE;
    fputs("measure,method,features,scale_multiple,deviation,seeds,median,low,high\n", file.stream);
    for (int measure = 0; measure < STUDY_MEASURES; measure++)
        for (int scale = 0; scale < STUDY_SCALES; scale++) {
            const double uniform = errors->uniform[measure][scale];
            write_row(file.stream, errors, measure, scale, "uniform", 0, 0,
                      &(struct study_value){uniform, uniform, uniform});
            for (int method = 0; method < STUDY_METHODS; method++)
                for (uint32_t i = 0; i < errors->counts; i++)
                    if (study_errors_has(errors, scale, i))
                        write_row(file.stream, errors, measure, scale, study_method_name(method),
                                  errors->features[i], errors->seeds,
                                  &errors->values[measure][scale][method][i]);
        }
    return whole_file_close(&file) ? PROGRAM_SUCCESS : PROGRAM_FAILURE;
}
