/* SPDX-License-Identifier: MIT */
#include "host_calls.h"

#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <stddef.h>

static struct host_calls calls;
static int64_t blocks, mutexes_held;
static struct {
    uint64_t at, count; /* 0: none */
    bool lasting, happened;
} fault;

struct host_calls host_calls(void)
{
    return calls;
}

int64_t host_mutexes_held(void)
{
    return mutexes_held;
}

int64_t host_blocks(void)
{
    return blocks;
}

void host_fail_at(uint64_t n, bool lasting)
{
    fault.at = n;
    fault.count = 0;
    fault.lasting = lasting;
    fault.happened = false;
}

bool host_fault(void)
{
    return fault.happened;
}

static bool fails(void)
{
    calls.memory++;
    if (fault.at == 0)
        return false;
    fault.count++;
    const bool now = fault.count == fault.at || (fault.lasting && fault.count > fault.at);
    fault.happened = fault.happened || now;
    return now;
}

static void *kept(void *block)
{
    blocks += block != NULL;
    return block;
}

/* The wrapped function, and what stands for it. */
#define WRAP(result, name, ...) \
    result __real_##name(__VA_ARGS__); \
    result __wrap_##name(__VA_ARGS__); \
    result __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t size)
{
    return fails() ? NULL : kept(__real_malloc(size));
}

WRAP(void *, calloc, size_t count, size_t size)
{
    return fails() ? NULL : kept(__real_calloc(count, size));
}

WRAP(void *, realloc, void *old, size_t size)
{
    if (fails())
        return NULL;
    void *const block = __real_realloc(old, size);
    if (old == NULL)
        kept(block);
    else if (size == 0 && block == NULL)
        blocks--;
    return block;
}

WRAP(void *, aligned_alloc, size_t alignment, size_t size)
{
    return fails() ? NULL : kept(__real_aligned_alloc(alignment, size));
}

WRAP(int, posix_memalign, void **block, size_t alignment, size_t size)
{
    if (fails())
        return ENOMEM;
    const int result = __real_posix_memalign(block, alignment, size);
    blocks += result == 0;
    return result;
}

WRAP(char *, strdup, const char *text)
{
    return fails() ? NULL : kept(__real_strdup(text));
}

WRAP(char *, strndup, const char *text, size_t size)
{
    return fails() ? NULL : kept(__real_strndup(text, size));
}

WRAP(void, free, void *block)
{
    calls.memory++;
    blocks -= block != NULL;
    __real_free(block);
}

WRAP(locale_t, newlocale, int mask, const char *name, locale_t base)
{
    if (fails())
        return (locale_t)0;
    const locale_t made = __real_newlocale(mask, name, base);
    blocks += made != (locale_t)0;
    return made;
}

WRAP(void, freelocale, locale_t locale)
{
    calls.memory++;
    blocks--;
    __real_freelocale(locale);
}

WRAP(int, pthread_mutex_init, pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    if (fails())
        return ENOMEM;
    const int result = __real_pthread_mutex_init(mutex, attributes);
    blocks += result == 0;
    return result;
}

WRAP(int, pthread_mutex_destroy, pthread_mutex_t *mutex)
{
    calls.memory++;
    blocks--;
    return __real_pthread_mutex_destroy(mutex);
}

WRAP(int, pthread_mutex_lock, pthread_mutex_t *mutex)
{
    calls.locks++;
    mutexes_held++;
    return __real_pthread_mutex_lock(mutex);
}

WRAP(int, pthread_mutex_trylock, pthread_mutex_t *mutex)
{
    calls.locks++;
    const int result = __real_pthread_mutex_trylock(mutex);
    mutexes_held += result == 0;
    return result;
}

WRAP(int, pthread_mutex_unlock, pthread_mutex_t *mutex)
{
    mutexes_held--;
    return __real_pthread_mutex_unlock(mutex);
}
