/* SPDX-License-Identifier: MIT */
/* The scales of a chart's axes. */
#include "chart_draw.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

enum {
    WANTED_TICKS = 5,
    MOST_POWERS = 8, /* ticks at powers; more are thinned out */
    TICK_TEXT = sizeof(((struct chart_tick *)0)->text),
};

/* Beyond, there is no room for sums: such values have no place. */
static const double largest = 1e300, least_log = 1e-300;

static bool has_place(bool log, double value)
{
    return fabs(value) <= largest && (!log || value >= least_log); /* false for NaN */
}

/* The values of one axis. */
struct range {
    double low, high;
    bool twos; /* all are powers of two */
};

static void range_add(struct range *range, bool log, double value)
{
    int exponent;
    if (!has_place(log, value))
        return;
    range->low = fmin(range->low, value);
    range->high = fmax(range->high, value);
    range->twos = range->twos && value > 0 && frexp(value, &exponent) == 0.5;
}

static struct range range_of(const struct chart_lines *lines, bool vertical)
{
    const bool log = vertical ? lines->y.log : lines->x.log;
    struct range range = {DBL_MAX, -DBL_MAX, true};
    for (uint32_t i = 0; i < lines->series_count; i++) {
        const struct chart_series *const s = &lines->series[i];
        const double *const arrays[] = {vertical ? s->y : s->x, vertical ? s->low : NULL,
                                        vertical ? s->high : NULL};
        for (size_t a = 0; a < sizeof(arrays) / sizeof(arrays[0]); a++)
            for (uint32_t j = 0; arrays[a] && j < s->count; j++)
                range_add(&range, log, arrays[a][j]);
    }
    if (range.low > range.high)
        range = (struct range){log ? 1 : 0, log ? 10 : 1, false};
    return range;
}

/* The text of a new tick, or NULL where the scale has no room for it. */
static char *add_tick(struct chart_scale *scale, double value)
{
    const double at = chart_scale_place(scale, value);
    const double before = scale->tick_count > 0 ? scale->ticks[scale->tick_count - 1].at : -1;
    if (!(at >= -1e-9 && at <= 1 + 1e-9 && at > before) || scale->tick_count == CHART_MAX_TICKS)
        return NULL;
    struct chart_tick *const tick = &scale->ticks[scale->tick_count++];
    tick->at = at;
    return tick->text;
}

/* The least of 1, 2, 5 times a power of ten that is not below size. */
static double round_step(double size)
{
    const double power = pow(10, floor(log10(size)));
    const double factor = size / power;
    return power * (factor <= 1 ? 1 : factor <= 2 ? 2 : factor <= 5 ? 5 : 10);
}

static void add_even_ticks(struct chart_scale *scale, double low, double high)
{
    const double step = round_step((high - low) / WANTED_TICKS);
    const double most = fmax(fabs(low), fabs(high));
    const int decimals = (int)fmax(0, -floor(log10(step) + 1e-9));
    const int digits = (int)fmax(1, ceil(log10(most / step) + 1));
    const double first = ceil(low / step - 1e-9);
    for (int i = 0; i < CHART_MAX_TICKS && (first + i) * step <= high + 1e-9 * step; i++) {
        const double value = first + i == 0 ? 0 : (first + i) * step; /* and not -0 */
        char *const text = add_tick(scale, value);
        if (text && most < 1e6 && decimals <= 5)
            snprintf(text, TICK_TEXT, "%.*f", decimals, value);
        else if (text)
            snprintf(text, TICK_TEXT, "%.*g", digits, value);
    }
}

/* Powers of two from exponent first to last; 2^10 as 1K. */
static void add_powers_of_two(struct chart_scale *scale, int first, int last)
{
    static const char *const units[] = {"", "K", "M", "G"};
    const int step = (last - first) / MOST_POWERS + 1;
    const bool plain = first >= 0 && last < 40;
    for (int e = first; e <= last; e += step) {
        char *const text = add_tick(scale, exp2(e));
        if (text && plain)
            snprintf(text, TICK_TEXT, "%d%s", 1 << e % 10, units[e / 10]);
        else if (text)
            snprintf(text, TICK_TEXT, "2^%d", e);
    }
}

static void add_powers_of_ten(struct chart_scale *scale, int first, int last)
{
    const int step = (last - first) / MOST_POWERS + 1;
    const bool plain = first >= -3 && last < 6;
    for (int e = first; e <= last; e += step) {
        char *const text = add_tick(scale, pow(10, e));
        if (text && plain)
            snprintf(text, TICK_TEXT, "%.*f", e < 0 ? -e : 0, pow(10, e));
        else if (text)
            snprintf(text, TICK_TEXT, "10^%d", e);
    }
}

/* 1, 2 and 5 times powers of ten, where there are few of those. */
static void add_thirds(struct chart_scale *scale, double low, double high)
{
    static const int factors[] = {1, 2, 5};
    const bool plain = low >= 1e-4 && high < 1e6;
    for (int e = (int)floor(log10(low)); e <= log10(high); e++)
        for (size_t i = 0; i < sizeof(factors) / sizeof(factors[0]); i++) {
            char *const text = add_tick(scale, factors[i] * pow(10, e));
            if (text && plain)
                snprintf(text, TICK_TEXT, "%.*f", e < 0 ? -e : 0, factors[i] * pow(10, e));
            else if (text)
                snprintf(text, TICK_TEXT, "%.0e", factors[i] * pow(10, e));
        }
}

static void add_log_ticks(struct chart_scale *scale, bool twos)
{
    const double low = exp2(scale->low), high = exp2(scale->high), decade = log2(10);
    const int first = (int)ceil(scale->low / decade - 1e-9);
    const int last = (int)floor(scale->high / decade + 1e-9);
    if (twos)
        add_powers_of_two(scale, (int)ceil(scale->low - 1e-9), (int)floor(scale->high + 1e-9));
    else if (last - first >= 2)
        add_powers_of_ten(scale, first, last);
    else
        add_thirds(scale, low, high);
    if (scale->tick_count < 2) {
        scale->tick_count = 0;
        add_even_ticks(scale, low, high);
    }
}

struct chart_scale chart_scale_fit(const struct chart_lines *lines, bool vertical)
{
    const struct range range = range_of(lines, vertical);
    struct chart_scale scale = {.log = vertical ? lines->y.log : lines->x.log};
    scale.low = scale.log ? log2(range.low) : range.low;
    scale.high = scale.log ? log2(range.high) : range.high;
    double pad = 0.04 * (scale.high - scale.low);
    if (pad <= 1e-9 * fmax(fabs(scale.low), fabs(scale.high))) /* one value alone */
        pad = scale.log ? 1 : fmax(fabs(scale.high) / 10, 1e-300);
    if (scale.high == 0 && scale.low == 0)
        pad = scale.log ? 1 : 0.5;
    const bool zero = vertical && !scale.log && scale.low >= 0 && scale.low < 0.4 * scale.high;
    scale.low = zero ? 0 : scale.low - pad;
    scale.high += pad;
    if (scale.log)
        add_log_ticks(&scale, range.twos);
    else
        add_even_ticks(&scale, scale.low, scale.high);
    return scale;
}

double chart_scale_place(const struct chart_scale *scale, double value)
{
    if (!has_place(scale->log, value))
        return NAN;
    return ((scale->log ? log2(value) : value) - scale->low) / (scale->high - scale->low);
}
