/* SPDX-License-Identifier: MIT */
/* Figures: scales, what is drawn where, files. */
#include "chart_draw.h"
#include "files.h"
#include "whole_file.h"

/* cmocka wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The x axis of points at these values. */
static struct chart_scale scale_of(bool log, const double *x, uint32_t count)
{
    const struct chart_series series = {.x = x, .y = x, .count = count};
    const struct chart_lines lines = {{NULL, log}, {NULL, false}, &series, 1};
    return chart_scale_fit(&lines, false);
}

#define SCALE(log, ...) \
    scale_of((log), (const double[]){__VA_ARGS__}, \
             sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

/* All ticks' texts, with a space after each. */
static const char *texts_of(struct chart_scale scale)
{
    static char texts[CHART_MAX_TICKS * 33];
    texts[0] = '\0';
    for (uint32_t i = 0; i < scale.tick_count; i++) {
        strcat(texts, scale.ticks[i].text);
        strcat(texts, " ");
    }
    return texts;
}

static void test_chart_ticks(void **state)
{
    (void)state;
    assert_string_equal(texts_of(SCALE(true, 512, 4096, 65536)), "512 1K 2K 4K 8K 16K 32K 64K ");
    assert_string_equal(texts_of(SCALE(true, 0.5, 4)), "2^-1 2^0 2^1 2^2 ");
    assert_string_equal(texts_of(SCALE(true, 1, 1 << 20)), "1 8 64 512 4K 32K 256K ");
    assert_string_equal(texts_of(SCALE(true, 0.01, 3, 1000)), "0.01 0.1 1 10 100 1000 ");
    assert_string_equal(texts_of(SCALE(true, 1e-7, 0.3)), "10^-7 10^-6 10^-5 10^-4 10^-3 10^-2 "
                                                          "10^-1 ");
    assert_string_equal(texts_of(SCALE(true, 3, 70)), "5 10 20 50 ");
    assert_string_equal(texts_of(SCALE(true, 101, 103)), "101.0 101.5 102.0 102.5 103.0 ");
    assert_string_equal(texts_of(SCALE(false, 0, 1)), "0.0 0.5 1.0 ");
    assert_string_equal(texts_of(SCALE(false, -40, 40)), "-40 -20 0 20 40 ");
    assert_string_equal(texts_of(SCALE(false, 0, 3e9)), "0 1e+09 2e+09 3e+09 ");
    assert_string_equal(texts_of(SCALE(false, 0, 2e-7)), "0 5e-08 1e-07 1.5e-07 2e-07 ");
}

/* Whatever the values, there are ticks, in their order, and places for the values. */
static void assert_sane(struct chart_scale scale, double value)
{
    assert_true(isfinite(scale.low) && isfinite(scale.high) && scale.low < scale.high);
    assert_true(scale.tick_count >= 1 && scale.tick_count <= CHART_MAX_TICKS);
    for (uint32_t i = 0; i < scale.tick_count; i++) {
        assert_true(scale.ticks[i].at >= -1e-6 && scale.ticks[i].at <= 1 + 1e-6);
        assert_true(i == 0 || scale.ticks[i].at > scale.ticks[i - 1].at);
    }
    if (isfinite(value) && !(scale.log && value < 1e-300)) {
        const double place = chart_scale_place(&scale, value);
        assert_true(place >= 0 && place <= 1);
    }
}

static void test_chart_any_values(void **state)
{
    (void)state;
    static const double values[] = {0,   1,     -1,     3,   1e-9,     1e9,       -1e9,  5e-324,
                                    0.1, 1e300, 1e-300, NAN, INFINITY, -INFINITY, 65536, 7.0 / 3};
    const size_t count = sizeof(values) / sizeof(values[0]);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++)
            for (int log = 0; log < 2; log++) {
                assert_sane(SCALE(log, values[i], values[j]), values[i]);
                assert_sane(SCALE(log, values[i]), values[i]);
            }
    const struct chart_scale log = SCALE(true, 1, 10);
    assert_true(isnan(chart_scale_place(&log, 0)) && isnan(chart_scale_place(&log, -1)));
    assert_true(isnan(chart_scale_place(&log, NAN)));
}

/* A white image of which a part is looked at. */
struct canvas {
    cairo_surface_t *surface;
    cairo_t *cr;
};

static struct canvas open_canvas(int width, int height)
{
    struct canvas c = {.surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height)};
    c.cr = cairo_create(c.surface);
    chart_grey(c.cr, 1);
    cairo_paint(c.cr);
    return c;
}

static void close_canvas(struct canvas *c)
{
    assert_int_equal(cairo_status(c->cr), CAIRO_STATUS_SUCCESS);
    cairo_destroy(c->cr);
    cairo_surface_destroy(c->surface);
}

/* 0xrrggbb */
static uint32_t pixel(const struct canvas *c, int x, int y)
{
    cairo_surface_flush(c->surface);
    const unsigned char *const row =
        cairo_image_surface_get_data(c->surface) + y * cairo_image_surface_get_stride(c->surface);
    uint32_t colour;
    memcpy(&colour, row + 4 * x, sizeof(colour));
    return colour & 0xffffff;
}

static double linear(uint32_t colour, int shift)
{
    const double c = (colour >> shift & 255) / 255.0;
    return c <= 0.04045 ? c / 12.92 : pow((c + 0.055) / 1.055, 2.4);
}

/* CIE L*, 0 to 100. */
static double lightness(uint32_t colour)
{
    const double y =
        0.2126 * linear(colour, 16) + 0.7152 * linear(colour, 8) + 0.0722 * linear(colour, 0);
    return y > 0.008856 ? 116 * cbrt(y) - 16 : 903.3 * y;
}

static void test_chart_map_darkens(void **state)
{
    (void)state;
    float ramp[100];
    for (int i = 0; i < 100; i++)
        ramp[i] = (float)i / 99;
    const struct chart_map map = {ramp, 1, 100, 0, 1};
    const struct chart_box plot = {0, 0, 200, 20};
    struct canvas c = open_canvas(240, 20);
    assert_true(chart_map_draw(c.cr, &map, &plot));
    double before = lightness(pixel(&c, 1, 10)), most = 0;
    assert_true(before > 95);
    for (int i = 1; i < 99; i++) {
        const double now = lightness(pixel(&c, 2 * i + 1, 10));
        assert_true(now < before + 0.3); /* a step of colours may round up */
        most = fmax(most, before - now);
        before = now;
    }
    assert_true(before < 20 && most < 2); /* evenly: 100 / 99 on average */
    close_canvas(&c);
}

/* A cell is where its row and column are; values beyond the range have its end's colours. */
static void test_chart_map_places(void **state)
{
    (void)state;
    const float values[6] = {0, 0, 9, 0, NAN, -9};
    const struct chart_map map = {values, 2, 3, -1, 1};
    const struct chart_box plot = {0, 0, 90, 60};
    struct canvas c = open_canvas(130, 60);
    assert_true(chart_map_draw(c.cr, &map, &plot));
    const uint32_t middle = pixel(&c, 15, 15);
    assert_int_equal(pixel(&c, 45, 15), middle);
    assert_int_equal(pixel(&c, 15, 45), middle);
    assert_true(lightness(pixel(&c, 75, 15)) < 20);
    assert_true(lightness(pixel(&c, 75, 45)) > 95);
    assert_int_equal(pixel(&c, 45, 45), 0xb0b0b0);
    close_canvas(&c);
}

/* Of more cells than pixels each counts: half of 0 and half of 1 is a half everywhere. */
static void test_chart_map_averages(void **state)
{
    (void)state;
    enum {
        ROWS = 600,
        COLUMNS = 2000
    };
    float *const values = malloc(ROWS * COLUMNS * sizeof(float));
    const float half = 0.5f;
    assert_non_null(values);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        values[i] = (float)(i / COLUMNS % 2 ^ i % 2);
    const struct chart_map map = {values, ROWS, COLUMNS, 0, 1}, one = {&half, 1, 1, 0, 1};
    const struct chart_box plot = {0, 0, 150, 45};
    struct canvas a = open_canvas(200, 45), b = open_canvas(200, 45);
    assert_true(chart_map_draw(a.cr, &map, &plot) && chart_map_draw(b.cr, &one, &plot));
    for (int x = 2; x < 148; x++)
        assert_int_equal(pixel(&a, x, 22), pixel(&b, x, 22));
    close_canvas(&a);
    close_canvas(&b);
    free(values);
}

/* Whether a pixel in that column has a colour that is no grey. */
static bool coloured(const struct canvas *c, int x)
{
    for (int y = 0; y < 100; y++) {
        const uint32_t p = pixel(c, x, y);
        const int red = (int)(p >> 16), blue = (int)(p & 255);
        if (abs(red - blue) > 60)
            return true;
    }
    return false;
}

static void test_chart_lines_have_gaps(void **state)
{
    (void)state;
    double x[101], y[101];
    for (int i = 0; i <= 100; i++) {
        x[i] = i;
        y[i] = i >= 40 && i <= 60 ? NAN : 1;
    }
    const struct chart_series series = {.x = x, .y = y, .count = 101};
    const struct chart_lines lines = {{NULL, false}, {NULL, false}, &series, 1};
    const struct chart_box plot = {0, 0, 216, 100}; /* 4 % of it stay free at either end */
    struct canvas c = open_canvas(216, 100);
    assert_true(chart_lines_draw(c.cr, &lines, &plot));
    assert_false(coloured(&c, 4));
    assert_true(coloured(&c, 12));
    assert_true(coloured(&c, 82));
    assert_false(coloured(&c, 94));
    assert_false(coloured(&c, 122));
    assert_true(coloured(&c, 134));
    assert_true(coloured(&c, 204));
    assert_false(coloured(&c, 213));
    close_canvas(&c);
}

/* The spread is a lighter area around the line, from low to high. */
static void test_chart_lines_have_spread(void **state)
{
    (void)state;
    const double x[] = {0, 1}, y[] = {5, 5}, low[] = {2, 2}, high[] = {8, 8};
    const struct chart_series series = {.x = x, .y = y, .count = 2, .low = low, .high = high};
    const struct chart_lines lines = {{NULL, false}, {NULL, false}, &series, 1};
    const struct chart_box plot = {0, 0, 100, 100};
    struct canvas c = open_canvas(100, 100);
    assert_true(chart_lines_draw(c.cr, &lines, &plot));
    const struct chart_scale scale = chart_scale_fit(&lines, true);
    const int inside = (int)(100 * (1 - chart_scale_place(&scale, 3.3)));
    const int line = (int)(100 * (1 - chart_scale_place(&scale, 5)));
    const int above = (int)(100 * (1 - chart_scale_place(&scale, 8.2)));
    assert_int_equal(pixel(&c, 61, above), 0xffffff);
    assert_true(lightness(pixel(&c, 61, inside)) < 98);
    assert_true(lightness(pixel(&c, 61, inside)) > 80);
    assert_true(lightness(pixel(&c, 61, line)) < 60);
    close_canvas(&c);
}

static uint32_t big_endian(const char *bytes)
{
    const unsigned char *const b = (const unsigned char *)bytes;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* NAME.png and NAME.svg are there and what they are called; the PNG's size, in pixels. */
static void assert_files(const char *name, uint32_t *width, uint32_t *height)
{
    char file[64];
    size_t size;
    snprintf(file, sizeof(file), "%s.png", name);
    char *png = files_read(files_path(file), &size);
    assert_true(size > 100);
    assert_memory_equal(png, "\x89PNG\r\n\x1a\n", 8);
    *width = big_endian(png + 16);
    *height = big_endian(png + 20);
    assert_non_null(memmem(png + size - 12, 12, "IEND", 4));
    free(png);
    files_remove(file);
    snprintf(file, sizeof(file), "%s.svg", name);
    char *svg = files_read(files_path(file), &size);
    assert_int_equal(strncmp(svg, "<?xml", 5), 0);
    assert_non_null(strstr(svg, "<svg "));
    assert_string_equal(svg + size - 7, "</svg>\n");
    free(svg);
    files_remove(file);
    assert_int_equal(files_count(), 0);
}

static void test_chart_files(void **state)
{
    (void)state;
    const double x[] = {1, 2, 4}, y[] = {3, NAN, 1e-3};
    const float values[] = {1, 2, 3, 4};
    const struct chart_series series[] = {{"caf\xc3\xa9 & <b>", x, y, 3, true, NULL, NULL},
                                          {NULL, x, x, 3, false, y, x},
                                          {"none", x, y, 0, false, NULL, NULL}};
    const struct chart_lines lines = {{"x", true}, {"y", true}, series, 3}, none = {0};
    const struct chart_map map = {values, 2, 2, 1, 4}, nothing = {0};
    const struct chart_panel panels[] = {
        {"lines", &lines, NULL}, {"map", NULL, &map}, {NULL, &none, NULL}, {NULL, NULL, &nothing}};
    uint32_t width[3], height[3];
    for (uint32_t columns = 0; columns < 3; columns++) {
        const struct chart chart = {"title", panels, 4, columns};
        assert_true(chart_write(&chart, files_path("."), "all"));
        assert_files("all", &width[columns], &height[columns]);
    }
    assert_int_equal(width[0], width[1]); /* no columns are one */
    assert_true(width[2] > width[1] && height[2] < height[1]);
    const struct chart empty = {0};
    assert_true(chart_write(&empty, files_path("."), "empty"));
    assert_files("empty", width, height);
}

/* Where the files cannot be, or the texts are none, nothing is left and nothing is replaced. */
static void test_chart_failures(void **state)
{
    (void)state;
    const struct chart chart = {"title", NULL, 0, 1}, wrong = {"\xff\xfe", NULL, 0, 1};
    assert_false(chart_write(&chart, files_path("none"), "chart"));
    assert_int_equal(files_count(), 0);
    files_write("chart.png", "kept", 4);
    assert_false(chart_write(&wrong, files_path("."), "chart"));
    size_t size;
    char *kept = files_read(files_path("chart.png"), &size);
    assert_string_equal(kept, "kept");
    free(kept);
    assert_int_equal(files_count(), 1);
    assert_true(chart_write(&chart, files_path("."), "chart"));
    assert_int_equal(files_count(), 2);
    uint32_t width, height;
    assert_files("chart", &width, &height);
}

static void test_whole_files(void **state)
{
    (void)state;
    struct whole_file file;
    size_t size;
    assert_true(whole_file_open(&file, files_path("."), "some", ".txt"));
    fputs("first", file.stream);
    assert_false(files_exists("some.txt"));
    assert_true(whole_file_close(&file));
    assert_true(whole_file_open(&file, files_path("."), "some", ".txt"));
    fputs("second", file.stream);
    whole_file_discard(&file);
    assert_int_equal(files_count(), 1);
    char *text = files_read(files_path("some.txt"), &size);
    assert_string_equal(text, "first");
    free(text);
    files_remove("some.txt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chart_ticks),
        cmocka_unit_test(test_chart_any_values),
        cmocka_unit_test(test_chart_map_darkens),
        cmocka_unit_test(test_chart_map_places),
        cmocka_unit_test(test_chart_map_averages),
        cmocka_unit_test(test_chart_lines_have_gaps),
        cmocka_unit_test(test_chart_lines_have_spread),
        cmocka_unit_test(test_chart_files),
        cmocka_unit_test(test_chart_failures),
        cmocka_unit_test(test_whole_files),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
