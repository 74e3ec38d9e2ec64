/* SPDX-License-Identifier: MIT */
/* What the numbers come to, in words. Every sentence follows from a comparison made here. */
#include "study.h"

#include <stdio.h>

/* Bounds on a share of the plain mean's error. */
#define GOOD 0.5
#define FAIR 0.9
#define NOTHING 1.02
/* What counts as the same error. */
#define SAME 0.98

static double share(const struct study_errors *errors, int method, int scale, uint32_t count)
{
    return errors->values[STUDY_OUTPUT][scale][method][count].median /
           errors->uniform[STUDY_OUTPUT][scale];
}

static double share_at(const struct study_errors *errors, int method, int scale)
{
    return share(errors, method, scale, errors->base);
}

static const char *grade(double share)
{
    if (share < GOOD)
        return "good";
    if (share < FAIR)
        return "fair";
    return share < NOTHING ? "about as the mean" : "worse than the mean";
}

static void say_features(const struct study_errors *errors, int method)
{
    const uint32_t last = errors->counts - 1;
    const double fewest = share(errors, method, STUDY_SCALE_OWN, 0);
    const double most = share(errors, method, STUDY_SCALE_OWN, last);
    if (last == 0)
        return;
    if (most < SAME * fewest)
        printf("; %.2f with %u features, %.2f with %u", fewest, errors->features[0], most,
               errors->features[last]);
    else
        printf("; more features do not help");
}

/* Up to which deviation it is good, and from which on worse than the mean. */
static void say_scales(const struct study_errors *errors, int method)
{
    int good = 0, worse = STUDY_SCALES;
    while (good < STUDY_SCALES && share_at(errors, method, good) < GOOD)
        good++;
    while (worse > 0 && !(share_at(errors, method, worse - 1) < NOTHING))
        worse--;
    if (good > 0)
        printf("; good up to deviation %.2f", errors->spread[good - 1]);
    if (worse == 0)
        printf("; worse than the mean at every deviation");
    else if (worse < STUDY_SCALES)
        printf("; worse than the mean from %.2f on", errors->spread[worse]);
}

static int best_at(const struct study_errors *errors, int scale)
{
    int best = 0;
    for (int method = 1; method < STUDY_METHODS; method++)
        if (share_at(errors, method, scale) < share_at(errors, best, scale))
            best = method;
    return best;
}

static void say_best(const struct study_errors *errors)
{
    static const int scales[] = {STUDY_SCALE_LEAST, STUDY_SCALE_OWN, STUDY_SCALES - 1};
    printf("Best by features:");
    for (int i = 0; i < 3; i++) {
        const int best = best_at(errors, scales[i]);
        printf("%s %s at deviation %.2f (%.2f)", i ? ";" : "", study_method_title(best),
               errors->spread[scales[i]], share_at(errors, best, scales[i]));
    }
    printf(".\n");
}

/* Errors of one method against another's, least and own scale. */
static void say_against(const struct study_errors *errors, int method, int other)
{
    printf("%s has ", study_method_title(method));
    for (int i = 0; i < 2; i++) {
        const int scale = i ? STUDY_SCALE_OWN : STUDY_SCALE_LEAST;
        printf("%s%.2f", i ? " and " : "",
               share_at(errors, method, scale) / share_at(errors, other, scale));
    }
    printf(" of the error of %s at deviations %.2f and %.2f.\n", study_method_title(other),
           errors->spread[STUDY_SCALE_LEAST], errors->spread[STUDY_SCALE_OWN]);
}

void study_verdict(const struct study_errors *errors, const struct study_maps *maps)
{
    printf("\nverdict: the output's error as a share of the plain mean's, %u features, deviation "
           "%.2f\n",
           errors->features[errors->base], errors->spread[STUDY_SCALE_OWN]);
    for (int method = 0; method < STUDY_METHODS; method++) {
        const double here = share_at(errors, method, STUDY_SCALE_OWN);
        printf("%-28s %5.2f  %s", study_method_title(method), here, grade(here));
        say_features(errors, method);
        say_scales(errors, method);
        printf("\n");
    }
    for (int i = 0; i < STUDY_MAPS; i++)
        if (!study_maps_is_method(i))
            printf("%-28s %5.2f  %s\n", maps->titles[i], maps->share[i], grade(maps->share[i]));
    say_best(errors);
    say_against(errors, STUDY_QUASI, STUDY_MONTE_CARLO);
    say_against(errors, STUDY_ORTHOGONAL, STUDY_MONTE_CARLO);
    say_against(errors, STUDY_CALIBRATED, STUDY_WDCF);
}
