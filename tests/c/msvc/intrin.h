#ifndef INTRIN_H
#define INTRIN_H

long _InterlockedCompareExchange(volatile long *number, long wanted, long found);
long _InterlockedExchange(volatile long *number, long value);
long _InterlockedIncrement(volatile long *number);
void _ReadWriteBarrier(void);
void __dmb(unsigned type);
void _mm_pause(void);

#endif
