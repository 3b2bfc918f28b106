/* create.c: makes one instance, asks it to test itself, and says what came of it: "ok", or the first status that is not. */
#include "check.h"

int main(int argc, char **argv)
{
    MODEL *model;
    M(status) status = M(create)(&model, argc > 1 ? argv[1] : NULL);

    if (status == M_UPPER(OK))
        status = M(selftest)(model);
    puts(status == M_UPPER(OK) ? "ok" : M(status_text)(status));
    M(destroy)(model);
    return 0;
}
