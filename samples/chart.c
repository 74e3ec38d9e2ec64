/* SPDX-License-Identifier: MIT */
/* The panels' places, and the files. */
#include "chart_draw.h"
#include "program.h"
#include "whole_file.h"

#include <cairo-svg.h>

#include <math.h>
#include <string.h>

#define MARGIN 10.0
#define PANEL_GAP 16.0
#define TITLE_TEXT 11.0
#define PIXELS_PER_POINT 3.0

void chart_grey(cairo_t *cr, double value)
{
    cairo_set_source_rgb(cr, value, value, value);
}

void chart_text_font(cairo_t *cr, double size, bool bold)
{
    cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, size);
}

double chart_text_width(cairo_t *cr, const char *text)
{
    cairo_text_extents_t extents;
    cairo_text_extents(cr, text, &extents);
    return extents.x_advance;
}

static double aligned(double x, double width, enum chart_align align)
{
    return x - (align == CHART_LEFT ? 0 : align == CHART_CENTRE ? width / 2 : width);
}

void chart_text(cairo_t *cr, double x, double y, enum chart_align align, const char *text)
{
    cairo_move_to(cr, aligned(x, chart_text_width(cr, text), align), y);
    cairo_show_text(cr, text);
    cairo_new_path(cr);
}

/* Draws it where the current point is, or only measures it. */
static double raised_text(cairo_t *cr, const char *text, bool draw)
{
    char base[32];
    const size_t length = strcspn(text, "^");
    snprintf(base, sizeof(base), "%.*s", (int)length, text);
    double width = chart_text_width(cr, base);
    if (draw)
        cairo_show_text(cr, base);
    if (!text[length])
        return width;
    cairo_save(cr);
    cairo_set_font_size(cr, 0.7 * CHART_TEXT);
    width += chart_text_width(cr, text + length + 1);
    if (draw) {
        cairo_rel_move_to(cr, 0, -0.4 * CHART_TEXT);
        cairo_show_text(cr, text + length + 1);
    }
    cairo_restore(cr);
    return width;
}

double chart_tick_width(cairo_t *cr, const char *text)
{
    return raised_text(cr, text, false);
}

void chart_tick_text(cairo_t *cr, double x, double y, enum chart_align align, const char *text)
{
    cairo_move_to(cr, aligned(x, raised_text(cr, text, false), align), y);
    (void)raised_text(cr, text, true);
    cairo_new_path(cr);
}

static struct chart_space panel_space(cairo_t *cr, const struct chart_panel *panel)
{
    struct chart_space s =
        panel->lines ? chart_lines_space(cr, panel->lines) : chart_map_space(cr, panel->map);
    s.top = panel->title ? CHART_TEXT + 8 : CHART_GAP;
    return s;
}

/* What the largest of the panels first, first + step, ... take on each side. */
static struct chart_space common_space(cairo_t *cr, const struct chart *chart, uint32_t first,
                                       uint32_t step, uint32_t count)
{
    struct chart_space most = {0};
    for (uint32_t i = first; count > 0 && i < chart->panel_count; i += step, count--) {
        const struct chart_space s = panel_space(cr, &chart->panels[i]);
        most.left = fmax(most.left, s.left);
        most.right = fmax(most.right, s.right);
        most.top = fmax(most.top, s.top);
        most.bottom = fmax(most.bottom, s.bottom);
        most.width = fmax(most.width, s.width);
        most.height = fmax(most.height, s.height);
    }
    return most;
}

/* The whole: panels of a column begin and end together, and so do those of a row. */
struct layout {
    uint32_t columns, rows;
    double width, height, title;
};

static struct chart_space column_space(cairo_t *cr, const struct chart *chart,
                                       const struct layout *l, uint32_t column)
{
    return common_space(cr, chart, column, l->columns, l->rows);
}

static struct chart_space row_space(cairo_t *cr, const struct chart *chart, const struct layout *l,
                                    uint32_t row)
{
    return common_space(cr, chart, row * l->columns, 1, l->columns);
}

static struct layout lay_out(cairo_t *cr, const struct chart *chart)
{
    const uint32_t wanted = chart->columns ? chart->columns : 1;
    const uint32_t most = chart->panel_count ? chart->panel_count : 1;
    struct layout l = {.columns = wanted < most ? wanted : most};
    l.rows = (chart->panel_count + l.columns - 1) / l.columns;
    l.title = chart->title ? TITLE_TEXT + 8 : 0;
    l.width = -PANEL_GAP;
    for (uint32_t c = 0; c < l.columns; c++) {
        const struct chart_space s = column_space(cr, chart, &l, c);
        l.width += s.left + s.width + s.right + PANEL_GAP;
    }
    l.height = l.title - PANEL_GAP;
    for (uint32_t r = 0; r < l.rows; r++) {
        const struct chart_space s = row_space(cr, chart, &l, r);
        l.height += s.top + s.height + s.bottom + PANEL_GAP;
    }
    chart_text_font(cr, TITLE_TEXT, true);
    l.width = fmax(l.width, chart->title ? chart_text_width(cr, chart->title) : 0);
    l.width = ceil(l.width + 2 * MARGIN);
    l.height = ceil(l.height + 2 * MARGIN);
    return l;
}

/* With the plot's upper left corner there. */
static bool draw_panel(cairo_t *cr, const struct chart_panel *panel, double x, double y)
{
    const struct chart_space s = panel_space(cr, panel);
    const struct chart_box plot = {x, y, s.width, s.height};
    if (panel->title) {
        chart_text_font(cr, CHART_TEXT + 0.5, true);
        chart_grey(cr, 0);
        chart_text(cr, x, y - 7, CHART_LEFT, panel->title);
    }
    return panel->lines ? chart_lines_draw(cr, panel->lines, &plot)
                        : chart_map_draw(cr, panel->map, &plot);
}

static bool draw_panels(cairo_t *cr, const struct chart *chart, const struct layout *l)
{
    double y = MARGIN + l->title;
    bool ok = true;
    for (uint32_t r = 0; r < l->rows; r++) {
        const struct chart_space row = row_space(cr, chart, l, r);
        double x = MARGIN;
        for (uint32_t c = 0; c < l->columns && r * l->columns + c < chart->panel_count; c++) {
            const struct chart_space column = column_space(cr, chart, l, c);
            ok &= draw_panel(cr, &chart->panels[r * l->columns + c], x + column.left, y + row.top);
            x += column.left + column.width + column.right + PANEL_GAP;
        }
        y += row.top + row.height + row.bottom + PANEL_GAP;
    }
    return ok;
}

static cairo_status_t draw(cairo_surface_t *surface, const struct chart *chart,
                           const struct layout *l, double scale)
{
    cairo_t *const cr = cairo_create(surface);
    cairo_scale(cr, scale, scale);
    chart_grey(cr, 1);
    cairo_paint(cr);
    if (chart->title) {
        chart_text_font(cr, TITLE_TEXT, true);
        chart_grey(cr, 0);
        chart_text(cr, MARGIN, MARGIN + TITLE_TEXT, CHART_LEFT, chart->title);
    }
    const bool ok = draw_panels(cr, chart, l);
    const cairo_status_t status = cairo_status(cr);
    cairo_destroy(cr);
    return status != CAIRO_STATUS_SUCCESS || ok ? status : CAIRO_STATUS_NO_MEMORY;
}

static cairo_status_t write_bytes(void *user, const unsigned char *data, unsigned int length)
{
    struct whole_file *const file = user;
    return fwrite(data, 1, length, file->stream) == length ? CAIRO_STATUS_SUCCESS
                                                           : CAIRO_STATUS_WRITE_ERROR;
}

static cairo_status_t write_png(struct whole_file *file, const struct chart *chart,
                                const struct layout *l)
{
    cairo_surface_t *const surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(PIXELS_PER_POINT * l->width),
                                   (int)(PIXELS_PER_POINT * l->height));
    cairo_status_t status = draw(surface, chart, l, PIXELS_PER_POINT);
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_write_to_png_stream(surface, write_bytes, file);
    cairo_surface_destroy(surface);
    return status;
}

static cairo_status_t write_svg(struct whole_file *file, const struct chart *chart,
                                const struct layout *l)
{
    cairo_surface_t *const surface =
        cairo_svg_surface_create_for_stream(write_bytes, file, l->width, l->height);
    cairo_status_t status = draw(surface, chart, l, 1);
    cairo_surface_finish(surface);
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_status(surface);
    cairo_surface_destroy(surface);
    return status;
}

static bool write_file(const struct chart *chart, const struct layout *l, const char *directory,
                       const char *name, const char *ending,
                       cairo_status_t (*write)(struct whole_file *, const struct chart *,
                                               const struct layout *))
{
    struct whole_file file;
    if (!whole_file_open(&file, directory, name, ending))
        return false;
    const cairo_status_t status = write(&file, chart, l);
    if (status == CAIRO_STATUS_SUCCESS || status == CAIRO_STATUS_WRITE_ERROR)
        return whole_file_close(&file);
    whole_file_discard(&file);
    (void)program_fail("%s/%s%s cannot be drawn: %s", directory, name, ending,
                       cairo_status_to_string(status));
    return false;
}

bool chart_write(const struct chart *chart, const char *directory, const char *name)
{
    cairo_surface_t *const nowhere = cairo_image_surface_create(CAIRO_FORMAT_RGB24, 1, 1);
    cairo_t *const cr = cairo_create(nowhere);
    const struct layout l = lay_out(cr, chart);
    const cairo_status_t status = cairo_status(cr);
    cairo_destroy(cr);
    cairo_surface_destroy(nowhere);
    if (status != CAIRO_STATUS_SUCCESS) {
        (void)program_fail("%s/%s cannot be drawn: %s", directory, name,
                           cairo_status_to_string(status));
        return false;
    }
    return write_file(chart, &l, directory, name, ".png", write_png) &&
           write_file(chart, &l, directory, name, ".svg", write_svg);
}
