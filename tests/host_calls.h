/* SPDX-License-Identifier: MIT */
/* What the library asks of the C library: memory, locks, locales; counted, and made to fail. The
 * linker sends the calls of every object of the program here (-Wl,--wrap, tests/meson.build), those
 * of shared libraries not. For one thread. */
#ifndef DJ_TESTS_HOST_CALLS_H
#define DJ_TESTS_HOST_CALLS_H

#include <stdbool.h>
#include <stdint.h>

/* Calls so far of what allocates or frees, and of what locks. */
struct host_calls {
    uint64_t memory, locks;
};
struct host_calls host_calls(void);

/* Mutexes that are locked now. */
int64_t host_mutexes_held(void);

/* What is allocated and not freed: blocks, mutexes that were initialised, locales. */
int64_t host_blocks(void);

/* The n-th allocation from now on, from 1, fails, and with lasting each one after it. n 0: none.
 * Returns from host_fault whether it came to that. */
void host_fail_at(uint64_t n, bool lasting);
bool host_fault(void);

#endif
