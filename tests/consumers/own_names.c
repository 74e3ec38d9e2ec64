/* SPDX-License-Identifier: MIT */
/* A program's own functions, of names that the libraries' sources have too. Linked beside the
 * static libraries, it is this program's that must be called, and by nobody but the program. */
#include <stdlib.h>

void element_read(void);
void safetensors_open(void);
void vkCreateInstance(void);
void volkInitialize(void);

void element_read(void)
{
    abort();
}

void safetensors_open(void)
{
    abort();
}

void vkCreateInstance(void)
{
    abort();
}

void volkInitialize(void)
{
    abort();
}
