#ifndef STDIO_H
#define STDIO_H

#include <stddef.h>

#define EOF (-1)

typedef struct file FILE;

FILE *fopen(const char *path, const char *mode);
size_t fread(void *memory, size_t size, size_t count, FILE *file);
int fgetc(FILE *file);
int fclose(FILE *file);

#endif
