/* SPDX-License-Identifier: MIT */
/* Skipped cases as TAP has them, whatever cmocka prints. */
#ifndef DJ_TESTS_SKIP_H
#define DJ_TESTS_SKIP_H

/* Before the first case: what cmocka says of a skipped one goes out as "ok 3 - name # SKIP reason".
 * cmocka before 2.0 says "not ok 3 # SKIP name", which to those who read TAP is a failure. */
void skip_prepare(void);

#endif
