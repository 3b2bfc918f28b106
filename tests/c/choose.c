/* choose.c: which device create takes, of lists that standard input has; on the OpenCL of fake_opencl.c.
 *
 * A list is lines for fake_list, and ends with a line "default", "argument" and a text, or "environment" and a text, with
 * a tab between them: what create gets.  Answers with a line for each list: the number of the device, -1 for NO_DEVICE.
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include "check.h"
#include "fake_opencl.h"

int main(void)
{
    char line[2048];

    fake_list_nothing();
    while (fgets(line, sizeof line, stdin)) {
        MODEL *model;
        M(status) status;
        char *text;

        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "platform\t", 9) == 0 || strncmp(line, "device\t", 7) == 0) {
            fake_list(line);
            continue;
        }
        text = strchr(line, '\t') ? strchr(line, '\t') + 1 : line;
        unsetenv("CLGEN_DEVICE");
        if (line[0] == 'e')
            setenv("CLGEN_DEVICE", text, 1);
        status = M(create)(&model, line[0] == 'a' ? text : NULL);
        if (status != M_UPPER(OK) && status != M_UPPER(NO_DEVICE))
            CHECK_IS(status, M_UPPER(OK));
        CHECK((status == M_UPPER(OK)) == (fake_chosen() >= 0));
        printf("%d\n", fake_chosen());
        M(destroy)(model);
        fake_list_nothing();
    }
    return 0;
}
