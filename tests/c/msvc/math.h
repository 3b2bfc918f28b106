#ifndef MATH_H
#define MATH_H

float acosf(float), acoshf(float), asinf(float), asinhf(float), atanf(float), atanhf(float), ceilf(float), cosf(float);
float coshf(float), erff(float), expf(float), expm1f(float), fabsf(float), floorf(float), fmaxf(float, float);
float fminf(float, float), fmodf(float, float), log1pf(float), logf(float), powf(float, float), rintf(float);
float sinf(float), sinhf(float), sqrtf(float), tanf(float), tanhf(float), truncf(float);

#define INFINITY    ((float)(1e300 * 1e300))
#define isfinite(x) ((x) - (x) == 0)
#define isnan(x)    ((x) != (x))

#endif
