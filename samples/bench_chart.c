/* SPDX-License-Identifier: MIT */
/* The figure: time and share of the roofline against length, a line for each system. */
#include "bench.h"
#include "chart.h"
#include "program.h"

#include <math.h>
#include <stdio.h>

/* Cases that differ in their length alone. */
struct curve {
    const struct bench_case *first;
    char name[64];
    uint32_t count;
    double tokens[BENCH_MAX_CASES], ms[BENCH_MAX_CASES], share[BENCH_MAX_CASES];
};

static bool belongs(const struct curve *curve, const struct bench_case *c)
{
    const struct bench_case *const f = curve->first;
    return f->kind == c->kind && f->system == c->system && f->type == c->type &&
           f->batch == c->batch && f->heads == c->heads && f->key_heads == c->key_heads &&
           f->dim == c->dim && f->value_dim == c->value_dim;
}

static void add(struct curve *curve, const struct bench_case *c)
{
    const uint32_t i = curve->count++;
    curve->tokens[i] = (double)c->tokens;
    curve->ms[i] = 1e3 * c->times.median;
    curve->share[i] = c->allowed > 0 ? 1e2 * c->allowed / c->times.median : NAN;
}

/* Curves of whole sequences: of several lengths, or there is no line to draw. */
static uint32_t find_curves(const struct bench_case *cases, size_t count, struct curve *curves)
{
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const struct bench_case *const c = &cases[i];
        if (c->times.count == 0 || (c->kind != BENCH_PREFILL && c->kind != BENCH_SOFTMAX))
            continue;
        uint32_t n = 0;
        while (n < found && !belongs(&curves[n], c))
            n++;
        if (n == found) {
            curves[found++] = (struct curve){.first = c};
            snprintf(curves[n].name, sizeof curves[n].name, "%s%s%s",
                     c->kind == BENCH_SOFTMAX ? "softmax, exact" : c->system->name,
                     c->type ? ", " : "", c->type ? dtype_names[c->type] : "");
        }
        add(&curves[n], c);
    }
    uint32_t lines = 0;
    for (uint32_t n = 0; n < found; n++)
        if (curves[n].count > 1)
            curves[lines++] = curves[n];
    return lines;
}

int bench_draw(const struct bench_gpu *gpu, const struct bench_case *cases, size_t count,
               const char *directory)
{
    static struct curve curves[BENCH_MAX_CASES];
    struct chart_series times[BENCH_MAX_CASES], shares[BENCH_MAX_CASES];
    const uint32_t lines = find_curves(cases, count, curves);
    if (lines == 0)
        return PROGRAM_SUCCESS;
    bool rooflines = false;
    for (uint32_t n = 0; n < lines; n++) {
        const struct curve *const c = &curves[n];
        times[n] =
            (struct chart_series){.name = c->name, .x = c->tokens, .y = c->ms, .count = c->count};
        shares[n] = times[n];
        shares[n].y = c->share;
        rooflines = rooflines || isfinite(c->share[0]);
    }
    const struct chart_axis length = {"tokens", true};
    const struct chart_lines time = {length, {"milliseconds", true}, times, lines};
    const struct chart_lines share = {length, {"percent of the roofline", false}, shares, lines};
    const struct chart_panel panels[] = {{"Time of a sequence", &time, NULL},
                                         {"Share of what the device can do", &share, NULL}};
    const struct bench_case *const f = curves[0].first;
    char title[400];
    snprintf(title, sizeof title, "Attention, %u heads, d = %u, e = %u, batch %u, %s",
             (unsigned)f->heads, (unsigned)f->dim, (unsigned)f->value_dim, (unsigned)f->batch,
             gpu->info.name);
    const uint32_t shown = rooflines ? 2 : 1;
    return chart_write(&(struct chart){title, panels, shown, shown}, directory, "bench")
               ? PROGRAM_SUCCESS
               : PROGRAM_FAILURE;
}
