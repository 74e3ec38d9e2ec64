/* SPDX-License-Identifier: MIT */
/* Work beside the caller's: where it is done and what it returns. The linker wraps pthread_create
 * and pthread_join (tests/meson.build). */
#include "harness.h"

#include "../lib/aside.h"

#include <errno.h>
#include <signal.h>

static bool no_threads;
static int begun, joined; /* threads, by the library */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*work)(void *user), void *user);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*work)(void *user), void *user);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*work)(void *user), void *user)
{
    if (no_threads)
        return EAGAIN;
    begun++;
    return __real_pthread_create(thread, attributes, work, user);
}

int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result)
{
    joined++;
    return __real_pthread_join(thread, result);
}

struct seen {
    pthread_t thread;
    bool blocked; /* SIGTERM, while it worked */
    int calls;
    dj_result result;
};

static dj_result work(void *user)
{
    struct seen *const seen = user;
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    seen->blocked = sigismember(&set, SIGTERM) == 1;
    seen->thread = pthread_self();
    seen->calls++;
    return seen->result;
}

static void runs_apart(void **state)
{
    (void)state;
    struct seen seen = {.result = DJ_ERROR_LIMIT};
    struct dj_aside aside;
    sigset_t set;
    assert_int_equal(dj_aside_start(&aside, true, work, &seen), DJ_SUCCESS);
    assert_int_equal(dj_aside_join(&aside), DJ_ERROR_LIMIT);
    assert_int_equal(seen.calls, 1);
    assert_false(pthread_equal(seen.thread, pthread_self()));
    assert_true(seen.blocked);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    assert_int_equal(sigismember(&set, SIGTERM), 0);
}

static void check_at_once(bool apart)
{
    static const dj_result results[] = {DJ_SUCCESS, DJ_ERROR_DEVICE_LOST};
    for (int i = 0; i < 2; i++) {
        struct seen seen = {.result = results[i]};
        struct dj_aside aside;
        assert_int_equal(dj_aside_start(&aside, apart, work, &seen), results[i]);
        assert_int_equal(seen.calls, 1);
        assert_true(pthread_equal(seen.thread, pthread_self()));
        assert_false(seen.blocked);
        assert_int_equal(dj_aside_join(&aside), results[i]);
        assert_int_equal(seen.calls, 1);
    }
}

static void runs_at_once(void **state)
{
    (void)state;
    check_at_once(false);
}

static void runs_at_once_where_no_thread_is_to_be_had(void **state)
{
    (void)state;
    no_threads = true;
    check_at_once(true);
    no_threads = false;
}

/* Of a context that may have threads, and of one that may not, which has none. */
static void plans_leave_no_thread(void **state)
{
    (void)state;
    for (uint32_t threads = DJ_ON; threads <= DJ_OFF; threads++) {
        dj_context *context = NULL;
        dj_attention *plan = NULL;
        HARNESS_OK(dj_context_create(
            &(struct dj_context_params){.log = harness_log_line, .threads = threads}, &context));
        begun = joined = 0;
        HARNESS_OK(dj_attention_create(context, &(struct dj_attention_params){.heads = 1, .dim = 4},
                                       &plan));
        assert_int_equal(begun, threads == DJ_ON ? 3 : 0);
        assert_int_equal(joined, begun);
        dj_attention_destroy(&plan);
        dj_context_destroy(&context);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(runs_apart),
    HARNESS_TEST(runs_at_once),
    HARNESS_TEST(runs_at_once_where_no_thread_is_to_be_had),
    HARNESS_TEST(plans_leave_no_thread),
};

HARNESS_MAIN(tests)
