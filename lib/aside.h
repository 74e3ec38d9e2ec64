/* SPDX-License-Identifier: MIT */
/* Work beside the caller's, on a thread of its own that ends before the caller's call does. */
#ifndef DJ_LIB_ASIDE_H
#define DJ_LIB_ASIDE_H

#include <dijiang/result.h>

#include <pthread.h>
#include <stdbool.h>

struct dj_aside {
    dj_result (*work)(void *user);
    void *user;
    dj_result result; /* of the work, once it is done */
    bool threaded;    /* a thread does it */
    pthread_t thread;
};

/* Begins work(user), which may be called from another thread, with all signals blocked, and returns
 * DJ_SUCCESS; without `threaded`, or where no thread is to be had, does it first and returns its
 * result. To be followed by dj_aside_join, until which the struct stays where it is. */
dj_result dj_aside_start(struct dj_aside *aside, bool threaded, dj_result (*work)(void *user),
                         void *user);

/* Waits for the work; returns its result. */
dj_result dj_aside_join(struct dj_aside *aside);

#endif
