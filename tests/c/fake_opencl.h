/* fake_opencl.h: how a test commands the OpenCL of fake_opencl.c. */
#ifndef FAKE_OPENCL_H
#define FAKE_OPENCL_H

enum { FAKE_ERROR = -6 }; /* CL_OUT_OF_HOST_MEMORY */

void fake_fail(int call);     /* the call with this number, from 1, fails; 0: none does.  Starts counting anew. */
int fake_failed(void);        /* whether it has come to that */
void fake_finished(int done); /* from now on nothing may be created or compiled any more, or may again */
void fake_refuse(int refuse); /* whether the compiler refuses every program */
void fake_be_gpu(int gpu);    /* whether the first device is a GPU, instead of a CPU */
void fake_share_memory(int share); /* whether the device reads and writes all memory of the process */
/* Replaces the list of platforms and devices, which begins with one of each.  Lines have fields with tabs between them:
 *     platform  name  version  whether it fails to list its devices (0 or 1)
 *     device    name  cl_device_type  compute units  is available (0 or 1)  has a compiler (0 or 1)
 * A device is of the platform before it.  To ask for a text that begins with '!' fails.
 */
void fake_list_nothing(void);
void fake_list(char *line);
int fake_chosen(void);        /* number of the device that a context was created for, from 0; -1: none yet */

int fake_living(void);        /* objects that were created and not released */

#endif
