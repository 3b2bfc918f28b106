#ifndef STDLIB_H
#define STDLIB_H

#include <stddef.h>

int abs(int number);
void *malloc(size_t size);
void free(void *memory);

#endif
