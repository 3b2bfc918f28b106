/* weights.c: the weights that are part of the program.
 *
 *     weights   writes them to its standard output, in hexadecimal
 */
#include <stdio.h>
#include <stdlib.h>

#define JOIN_(a, b) a##_##b
#define JOIN(a, b)  JOIN_(a, b)

const void *JOIN(MODEL, weights_take)(void);
void JOIN(MODEL, weights_give_back)(const void *weights);

int main(void)
{
    const unsigned char *weights = JOIN(MODEL, weights_take)();

    if (!weights)
        return EXIT_FAILURE;
    for (size_t i = 0; i < BYTES; ++i)
        printf("%02x", weights[i]);
    JOIN(MODEL, weights_give_back)(weights);
    return EXIT_SUCCESS;
}
