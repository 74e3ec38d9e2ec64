/* SPDX-License-Identifier: MIT */
/* A panel that shows a matrix by colours. */
#include "chart_draw.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>

enum {
    MOST_PIXELS = 512, /* a side; larger matrices are averaged, smaller ones made of larger cells */
};

#define MAP_SIZE 150.0
#define BAR_WIDTH 7.0

static double companded(double linear)
{
    const double x = fmin(fmax(linear, 0), 1);
    return x <= 0.0031308 ? 12.92 * x : 1.055 * pow(x, 1 / 2.4) - 0.055;
}

/* The colour of a share 0 to 1, as 0xffrrggbb: lightness falls evenly, by Oklab (Ottosson 2020),
 * from near white through yellow, green and blue to a dark violet. */
static uint32_t colour_of(double share)
{
    const double t = fmin(fmax(share, 0), 1);
    const double lightness = 0.98 - 0.76 * t;
    const double chroma = 0.015 + 0.125 * pow(sin(acos(-1.0) * pow(t, 0.75)), 0.8) + 0.06 * t;
    const double hue = 1.75 + 3.3 * t;
    const double a = chroma * cos(hue), b = chroma * sin(hue);
    const double l = pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3);
    const double m = pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3);
    const double s = pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3);
    const double linear[] = {+4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
                             -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
                             -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s};
    uint32_t colour = 0xff;
    for (int i = 0; i < 3; i++)
        colour = colour << 8 | (uint32_t)lround(255 * companded(linear[i]));
    return colour;
}

static uint32_t colour_in(const struct chart_map *map, double value)
{
    const double width = map->high - map->low;
    if (!isfinite(value))
        return 0xffb0b0b0;
    return colour_of(width > 0 ? (value - map->low) / width : 0.5);
}

/* How matrix and image divide one side. */
struct side {
    uint32_t cells, per_pixel, pixels_per_cell, pixels;
};

static struct side side_of(uint32_t cells)
{
    struct side side = {.cells = cells, .per_pixel = 1, .pixels_per_cell = 1};
    if (cells > MOST_PIXELS)
        side.per_pixel = (cells - 1) / MOST_PIXELS + 1;
    else
        side.pixels_per_cell = MOST_PIXELS / cells;
    side.pixels = (cells - 1) / side.per_pixel * side.pixels_per_cell + side.pixels_per_cell;
    return side;
}

/* The cells first to *end of a pixel. */
static uint32_t cells_of(const struct side *side, uint32_t pixel, uint32_t *end)
{
    const uint32_t first = pixel / side->pixels_per_cell * side->per_pixel;
    *end = side->cells - first < side->per_pixel ? side->cells : first + side->per_pixel;
    return first;
}

static double average(const struct chart_map *map, const struct side *x, uint32_t column,
                      const struct side *y, uint32_t row)
{
    uint32_t row_end, column_end;
    const uint32_t row_first = cells_of(y, row, &row_end);
    const uint32_t column_first = cells_of(x, column, &column_end);
    double sum = 0;
    for (uint32_t r = row_first; r < row_end; r++)
        for (uint32_t c = column_first; c < column_end; c++)
            sum += map->values[(size_t)r * map->columns + c];
    return sum / ((double)(row_end - row_first) * (column_end - column_first));
}

static void paint_image(cairo_t *cr, cairo_surface_t *image, const struct chart_box *box)
{
    cairo_save(cr);
    cairo_translate(cr, box->x, box->y);
    cairo_scale(cr, box->width / cairo_image_surface_get_width(image),
                box->height / cairo_image_surface_get_height(image));
    cairo_set_source_surface(cr, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cr), CAIRO_FILTER_NEAREST);
    cairo_paint(cr);
    cairo_restore(cr);
}

static void outline(cairo_t *cr, const struct chart_box *box)
{
    chart_grey(cr, 0.35);
    cairo_set_line_width(cr, 0.6);
    cairo_rectangle(cr, box->x, box->y, box->width, box->height);
    cairo_stroke(cr);
}

static void set_pixel(cairo_surface_t *image, uint32_t x, uint32_t y, uint32_t colour)
{
    unsigned char *const row = cairo_image_surface_get_data(image) +
                               (size_t)y * (size_t)cairo_image_surface_get_stride(image);
    ((uint32_t *)(void *)row)[x] = colour;
}

static bool draw_matrix(cairo_t *cr, const struct chart_map *map, const struct chart_box *plot)
{
    const struct side x = side_of(map->columns), y = side_of(map->rows);
    cairo_surface_t *const image =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)x.pixels, (int)y.pixels);
    const bool ok = cairo_surface_status(image) == CAIRO_STATUS_SUCCESS;
    for (uint32_t row = 0; ok && row < y.pixels; row++)
        for (uint32_t column = 0; column < x.pixels; column++)
            set_pixel(image, column, row, colour_in(map, average(map, &x, column, &y, row)));
    cairo_surface_mark_dirty(image);
    if (ok)
        paint_image(cr, image, plot);
    cairo_surface_destroy(image);
    return ok;
}

/* The colours from low to high, beside the plot. */
static bool draw_bar(cairo_t *cr, const struct chart_map *map, const struct chart_box *plot)
{
    enum {
        STEPS = 128
    };
    const struct chart_box bar = {plot->x + plot->width + CHART_GAP, plot->y, BAR_WIDTH,
                                  plot->height};
    cairo_surface_t *const image = cairo_image_surface_create(CAIRO_FORMAT_RGB24, 1, STEPS);
    const bool ok = cairo_surface_status(image) == CAIRO_STATUS_SUCCESS;
    for (uint32_t i = 0; ok && i < STEPS; i++)
        set_pixel(image, 0, i, colour_of(1 - (i + 0.5) / STEPS));
    cairo_surface_mark_dirty(image);
    if (ok)
        paint_image(cr, image, &bar);
    cairo_surface_destroy(image);
    outline(cr, &bar);
    char low[32], high[32];
    snprintf(low, sizeof(low), "%.3g", map->low);
    snprintf(high, sizeof(high), "%.3g", map->high);
    chart_text_font(cr, CHART_TEXT - 1, false);
    chart_grey(cr, 0.2);
    chart_text(cr, bar.x + BAR_WIDTH + 3, bar.y + CHART_TEXT - 2, CHART_LEFT, high);
    chart_text(cr, bar.x + BAR_WIDTH + 3, bar.y + bar.height, CHART_LEFT, low);
    return ok;
}

struct chart_space chart_map_space(cairo_t *cr, const struct chart_map *map)
{
    char low[32], high[32];
    snprintf(low, sizeof(low), "%.3g", map->low);
    snprintf(high, sizeof(high), "%.3g", map->high);
    chart_text_font(cr, CHART_TEXT - 1, false);
    const double text = fmax(chart_text_width(cr, low), chart_text_width(cr, high));
    const double ratio = map->columns ? (double)map->rows / map->columns : 1;
    return (struct chart_space){.right = CHART_GAP + BAR_WIDTH + 3 + text,
                                .width = ratio > 1 ? MAP_SIZE / fmin(ratio, 4) : MAP_SIZE,
                                .height = ratio > 1 ? MAP_SIZE : MAP_SIZE * fmax(ratio, 0.25)};
}

bool chart_map_draw(cairo_t *cr, const struct chart_map *map, const struct chart_box *plot)
{
    const bool ok = map->rows == 0 || map->columns == 0 || draw_matrix(cr, map, plot);
    outline(cr, plot);
    return draw_bar(cr, map, plot) && ok;
}
