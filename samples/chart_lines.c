/* SPDX-License-Identifier: MIT */
/* A panel of lines over two axes, each named at its end. */
#include "chart_draw.h"

#include <math.h>
#include <stdlib.h>

enum {
    COLOURS = 8,
    SHAPES = 4,
    MOST_MARKERS = 40, /* points of a series that are marked each */
};

#define PLOT_WIDTH 205.0
#define PLOT_HEIGHT 150.0
#define LABEL_STEP 11.0 /* between two names */
#define LABEL_LEAD 14.0 /* from the plot to the names */
#define MARKER 2.1

/* Okabe and Ito's colours, told apart by the colour-blind too; grey for yellow, which is too light
 * for lines. */
static const double colours[COLOURS][3] = {
    {0.000, 0.447, 0.698}, /* blue */
    {0.835, 0.369, 0.000}, /* vermilion */
    {0.000, 0.620, 0.451}, /* bluish green */
    {0.800, 0.475, 0.655}, /* reddish purple */
    {0.902, 0.624, 0.000}, /* orange */
    {0.000, 0.000, 0.000}, /* black */
    {0.337, 0.706, 0.914}, /* sky blue */
    {0.500, 0.500, 0.500}, /* grey */
};

static void set_colour(cairo_t *cr, uint32_t series, double alpha)
{
    const double *const c = colours[series % COLOURS];
    cairo_set_source_rgba(cr, c[0], c[1], c[2], alpha);
}

/* The axes with the box that they span. */
struct frame {
    const struct chart_box *plot;
    struct chart_scale x, y;
};

/* Where a point lies; false for one that has no place. */
static bool place(const struct frame *f, double x, double y, double *px, double *py)
{
    const double across = chart_scale_place(&f->x, x), up = chart_scale_place(&f->y, y);
    if (!isfinite(across) || !isfinite(up))
        return false;
    *px = f->plot->x + across * f->plot->width;
    *py = f->plot->y + (1 - up) * f->plot->height;
    return true;
}

/* Of how many ticks of the x axis one is labelled, so that the labels do not touch. */
static uint32_t label_step(cairo_t *cr, const struct frame *f)
{
    uint32_t step = 1; /* of ticks that are about evenly apart */
    for (uint32_t i = 0; i + 1 < f->x.tick_count; i++) {
        const struct chart_tick *const a = &f->x.ticks[i], *const b = &f->x.ticks[i + 1];
        const double room = (chart_tick_width(cr, a->text) + chart_tick_width(cr, b->text)) / 2;
        const double apart = (b->at - a->at) * f->plot->width;
        while (step < f->x.tick_count && step * apart < room + CHART_GAP)
            step++;
    }
    return step;
}

static void draw_axes(cairo_t *cr, const struct chart_lines *lines, const struct frame *f)
{
    const struct chart_box *const p = f->plot;
    const double bottom = p->y + p->height;
    chart_text_font(cr, CHART_TEXT, false);
    cairo_set_line_width(cr, 0.5);
    const uint32_t step = label_step(cr, f);
    for (uint32_t i = 0; i < f->x.tick_count; i++) {
        const double x = p->x + f->x.ticks[i].at * p->width;
        chart_grey(cr, 0.88);
        cairo_move_to(cr, x, p->y);
        cairo_line_to(cr, x, bottom);
        cairo_stroke(cr);
        chart_grey(cr, 0.2);
        if (i % step == 0)
            chart_tick_text(cr, x, bottom + CHART_TEXT + 4, CHART_CENTRE, f->x.ticks[i].text);
    }
    for (uint32_t i = 0; i < f->y.tick_count; i++) {
        const double y = bottom - f->y.ticks[i].at * p->height;
        chart_grey(cr, 0.88);
        cairo_move_to(cr, p->x, y);
        cairo_line_to(cr, p->x + p->width, y);
        cairo_stroke(cr);
        chart_grey(cr, 0.2);
        chart_tick_text(cr, p->x - 4, y + 0.36 * CHART_TEXT, CHART_RIGHT, f->y.ticks[i].text);
    }
    chart_grey(cr, 0.25);
    cairo_set_line_width(cr, 0.8);
    cairo_move_to(cr, p->x, p->y);
    cairo_line_to(cr, p->x, bottom);
    cairo_line_to(cr, p->x + p->width, bottom);
    cairo_stroke(cr);
    chart_grey(cr, 0);
    if (lines->x.label)
        chart_text(cr, p->x + p->width / 2, bottom + 2 * CHART_TEXT + 10, CHART_CENTRE,
                   lines->x.label);
}

static double tick_room(cairo_t *cr, const struct chart_scale *scale)
{
    double most = 0;
    for (uint32_t i = 0; i < scale->tick_count; i++)
        most = fmax(most, chart_tick_width(cr, scale->ticks[i].text));
    return most;
}

static void draw_y_label(cairo_t *cr, const struct chart_lines *lines, const struct frame *f)
{
    const struct chart_box *const p = f->plot;
    if (!lines->y.label)
        return;
    chart_text_font(cr, CHART_TEXT, false);
    chart_grey(cr, 0);
    cairo_save(cr);
    cairo_translate(cr, p->x - 4 - tick_room(cr, &f->y) - 7, p->y + p->height / 2);
    cairo_rotate(cr, -acos(-1.0) / 2);
    chart_text(cr, 0, 0, CHART_CENTRE, lines->y.label);
    cairo_restore(cr);
}

/* From low to high, each stretch without a gap by itself. */
static void draw_spread(cairo_t *cr, const struct frame *f, const struct chart_series *s)
{
    double x = 0, y = 0;
    for (uint32_t first = 0, end; s->low && s->high && first < s->count; first = end + 1) {
        for (end = first; end < s->count && place(f, s->x[end], s->low[end], &x, &y) &&
                          place(f, s->x[end], s->high[end], &x, &y);
             end++)
            cairo_line_to(cr, x, y);
        for (uint32_t i = end; i-- > first;) {
            (void)place(f, s->x[i], s->low[i], &x, &y);
            cairo_line_to(cr, x, y);
        }
        cairo_close_path(cr);
        cairo_new_sub_path(cr);
    }
    cairo_fill(cr);
}

static void draw_marker(cairo_t *cr, uint32_t series, double x, double y)
{
    static const double corners[SHAPES][4][2] = {
        {{0, 0}}, /* a circle */
        {{-0.9, -0.9}, {0.9, -0.9}, {0.9, 0.9}, {-0.9, 0.9}},
        {{0, -1.25}, {1.15, 0.85}, {-1.15, 0.85}, {-1.15, 0.85}},
        {{0, -1.35}, {1.35, 0}, {0, 1.35}, {-1.35, 0}},
    };
    const uint32_t shape = series % SHAPES;
    cairo_new_path(cr);
    if (shape == 0)
        cairo_arc(cr, x, y, MARKER, 0, 2 * acos(-1.0));
    for (int i = 0; shape > 0 && i < 4; i++)
        cairo_line_to(cr, x + MARKER * corners[shape][i][0], y + MARKER * corners[shape][i][1]);
    cairo_close_path(cr);
    cairo_fill(cr);
}

static void draw_line(cairo_t *cr, const struct frame *f, const struct chart_series *s)
{
    double x, y;
    bool drawing = false;
    for (uint32_t i = 0; i < s->count; i++) {
        const bool placed = place(f, s->x[i], s->y[i], &x, &y);
        if (placed && drawing)
            cairo_line_to(cr, x, y);
        else if (placed)
            cairo_move_to(cr, x, y);
        drawing = placed;
    }
    const double dashes[] = {4, 2.5};
    cairo_set_dash(cr, dashes, s->dashed ? 2 : 0, 0);
    cairo_set_line_width(cr, 1.3);
    cairo_stroke(cr);
    cairo_set_dash(cr, NULL, 0, 0);
}

static void draw_series(cairo_t *cr, const struct frame *f, const struct chart_lines *lines)
{
    double x, y;
    for (uint32_t i = 0; i < lines->series_count; i++) {
        set_colour(cr, i, 0.16);
        draw_spread(cr, f, &lines->series[i]);
    }
    for (uint32_t i = 0; i < lines->series_count; i++) {
        const struct chart_series *const s = &lines->series[i];
        set_colour(cr, i, 1);
        draw_line(cr, f, s);
        for (uint32_t j = 0; s->count <= MOST_MARKERS && j < s->count; j++)
            if (place(f, s->x[j], s->y[j], &x, &y))
                draw_marker(cr, i, x, y);
    }
}

/* A series' name: the end of its line, and where there is room for the text. */
struct label {
    uint32_t series;
    double x, end, y;
};

static int compare_labels(const void *a, const void *b)
{
    const struct label *const x = a, *const y = b;
    return x->end != y->end ? (x->end > y->end) - (x->end < y->end)
                            : (x->series > y->series) - (x->series < y->series);
}

/* Moves labels that touch apart, as little as may be. */
static void spread_labels(struct label *labels, uint32_t count, const struct chart_box *plot)
{
    const double low = plot->y, high = plot->y + plot->height;
    for (uint32_t first = 0, end; first < count; first = end) {
        /* labels[first .. end) stand at even distances around the mean of their lines' ends */
        double sum = 0;
        end = first + 1;
        for (;;) {
            sum = 0;
            for (uint32_t i = first; i < end; i++)
                sum += labels[i].end;
            const double half = (end - first - 1) * LABEL_STEP / 2;
            double top = sum / (end - first) - half;
            top = fmax(fmin(top, high - 2 * half), low);
            for (uint32_t i = first; i < end; i++)
                labels[i].y = top + (i - first) * LABEL_STEP;
            if (first > 0 && labels[first].y < labels[first - 1].y + LABEL_STEP)
                first--; /* what was placed before takes part */
            else if (end < count && labels[end].end < labels[end - 1].y + LABEL_STEP)
                end++;
            else
                break;
        }
    }
}

static void draw_label(cairo_t *cr, const struct frame *f, const struct chart_lines *lines,
                       const struct label *label)
{
    const struct chart_series *const s = &lines->series[label->series];
    const double right = f->plot->x + f->plot->width + LABEL_LEAD - CHART_GAP;
    set_colour(cr, label->series, 0.55);
    cairo_set_line_width(cr, 0.5);
    cairo_move_to(cr, label->x, label->end);
    cairo_line_to(cr, right, label->y);
    cairo_stroke(cr);
    set_colour(cr, label->series, 1);
    if (s->count <= MOST_MARKERS)
        draw_marker(cr, label->series, right, label->y);
    chart_grey(cr, 0.1);
    chart_text(cr, right + CHART_GAP, label->y + 0.36 * CHART_TEXT, CHART_LEFT, s->name);
}

static bool draw_labels(cairo_t *cr, const struct frame *f, const struct chart_lines *lines)
{
    struct label *const labels = calloc(lines->series_count + 1, sizeof(*labels));
    uint32_t count = 0;
    if (!labels)
        return false;
    for (uint32_t i = 0; i < lines->series_count; i++) {
        const struct chart_series *const s = &lines->series[i];
        struct label label = {.series = i};
        bool placed = false;
        for (uint32_t j = s->name ? s->count : 0; !placed && j-- > 0;)
            placed = place(f, s->x[j], s->y[j], &label.x, &label.end);
        if (placed)
            labels[count++] = label;
    }
    qsort(labels, count, sizeof(*labels), compare_labels);
    spread_labels(labels, count, f->plot);
    chart_text_font(cr, CHART_TEXT, false);
    for (uint32_t i = 0; i < count; i++)
        draw_label(cr, f, lines, &labels[i]);
    free(labels);
    return true;
}

struct chart_space chart_lines_space(cairo_t *cr, const struct chart_lines *lines)
{
    const struct chart_scale y = chart_scale_fit(lines, true);
    double names = 0;
    chart_text_font(cr, CHART_TEXT, false);
    for (uint32_t i = 0; i < lines->series_count; i++)
        if (lines->series[i].name)
            names = fmax(names, chart_text_width(cr, lines->series[i].name));
    return (struct chart_space){
        .left = 4 + tick_room(cr, &y) + (lines->y.label ? CHART_TEXT + 8 : 0),
        .right = names > 0 ? LABEL_LEAD + names : CHART_TEXT,
        .bottom = CHART_TEXT + 6 + (lines->x.label ? CHART_TEXT + 7 : 0),
        .width = PLOT_WIDTH,
        .height = PLOT_HEIGHT,
    };
}

bool chart_lines_draw(cairo_t *cr, const struct chart_lines *lines, const struct chart_box *plot)
{
    const struct frame f = {plot, chart_scale_fit(lines, false), chart_scale_fit(lines, true)};
    draw_axes(cr, lines, &f);
    draw_y_label(cr, lines, &f);
    draw_series(cr, &f, lines);
    return draw_labels(cr, &f, lines);
}
