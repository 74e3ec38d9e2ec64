/* SPDX-License-Identifier: MIT */
#include "aside.h"

#include <signal.h>
#include <stddef.h>

/* Compilers of drivers run in it, and some C libraries' threads have little. */
static const size_t STACK = (size_t)8 << 20;

static void *run(void *user)
{
    struct dj_aside *const aside = user;
    aside->result = aside->work(aside->user);
    return NULL;
}

static bool start_thread(struct dj_aside *aside)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    (void)pthread_attr_setstacksize(&attributes, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the caller's threads' */
    const bool started = pthread_create(&aside->thread, &attributes, run, aside) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

dj_result dj_aside_start(struct dj_aside *aside, bool threaded, dj_result (*work)(void *user),
                         void *user)
{
    *aside = (struct dj_aside){.work = work, .user = user};
    aside->threaded = threaded && start_thread(aside);
    if (!aside->threaded)
        (void)run(aside);
    return aside->threaded ? DJ_SUCCESS : aside->result;
}

dj_result dj_aside_join(struct dj_aside *aside)
{
    if (aside->threaded)
        pthread_join(aside->thread, NULL);
    aside->threaded = false;
    return aside->result;
}
