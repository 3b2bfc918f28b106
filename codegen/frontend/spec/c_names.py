"""Names that C, C++, POSIX, OpenCL C and CMake use.

The lists cover the names that gcc and g++ define in the headers of C, POSIX and OpenCL: a test compiles names that are
not in the lists together with these headers.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYWORDS = _words(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t char8_t class
    co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype
    default delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline int
    long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
    reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch
    template this thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using
    virtual void volatile wchar_t while xor xor_eq
    """
)
"""Keywords of C99 to C23 and of C++20."""

TYPES_AND_MACROS = _words(
    """
    ACCESSPERMS ALLPERMS assert BOOL BUFSIZ BYTE_ORDER CLOCKS_PER_SEC complex CONST CSIGNAL daylight DECIMAL_DIG
    DEFFILEMODE DELETE Dl_info Dl_serinfo Dl_serpath DLFO_EH_SEGMENT_TYPE DLFO_STRUCT_HAS_EH_COUNT
    DLFO_STRUCT_HAS_EH_DBASE DN_ACCESS DN_ATTRIB DN_CREATE DN_DELETE DN_MODIFY DN_MULTISHOT DN_RENAME environ EOF
    errno ERROR F_ADD_SEALS F_DUPFD F_DUPFD_CLOEXEC F_EXLCK F_GET_FILE_RW_HINT F_GET_RW_HINT F_GET_SEALS F_GETFD
    F_GETFL F_GETLEASE F_GETLK F_GETLK64 F_GETOWN F_GETOWN_EX F_GETPIPE_SZ F_GETSIG F_LOCK F_NOTIFY F_OFD_GETLK
    F_OFD_SETLK F_OFD_SETLKW F_OK F_RDLCK F_SEAL_FUTURE_WRITE F_SEAL_GROW F_SEAL_SEAL F_SEAL_SHRINK F_SEAL_WRITE
    F_SET_FILE_RW_HINT F_SET_RW_HINT F_SETFD F_SETFL F_SETLEASE F_SETLK F_SETLK64 F_SETLKW F_SETLKW64 F_SETOWN
    F_SETOWN_EX F_SETPIPE_SZ F_SETSIG F_SHLCK F_TEST F_TLOCK F_ULOCK F_UNLCK F_WRLCK FALLOC_FL_COLLAPSE_RANGE
    FALLOC_FL_INSERT_RANGE FALLOC_FL_KEEP_SIZE FALLOC_FL_NO_HIDE_STALE FALLOC_FL_PUNCH_HOLE FALLOC_FL_UNSHARE_RANGE
    FALLOC_FL_ZERO_RANGE FALSE FAPPEND far FASYNC fd_mask fd_set FFSYNC FILE FNDELAY FNONBLOCK getdate_err huge
    hyper I IN INFINITY int16_t int32_t int64_t int8_t interface intmax_t intptr_t jmp_buf L_ctermid L_cuserid
    L_INCR L_SET L_tmpnam L_XTND linux LM_ID_BASE LM_ID_NEWLM M_1_PI M_1_PIf M_1_PIl M_2_PI M_2_PIf M_2_PIl
    M_2_SQRTPI M_2_SQRTPIf M_2_SQRTPIl M_E M_Ef M_El M_LN10 M_LN10f M_LN10l M_LN2 M_LN2f M_LN2l M_LOG10E M_LOG10Ef
    M_LOG10El M_LOG2E M_LOG2Ef M_LOG2El M_PI M_PI_2 M_PI_2f M_PI_2l M_PI_4 M_PI_4f M_PI_4l M_PIf M_PIl M_SQRT1_2
    M_SQRT1_2f M_SQRT1_2l M_SQRT2 M_SQRT2f M_SQRT2l main math_errhandling max max_align_t MAX_CANON MAX_HANDLE_SZ
    MAX_INPUT MAXFLOAT min MINSIGSTKSZ MLOCK_ONFAULT MREMAP_DONTUNMAP MREMAP_FIXED MREMAP_MAYMOVE NAN near NFDBITS
    NGREG noreturn NSIG NULL NZERO O_ACCMODE O_APPEND O_ASYNC O_CLOEXEC O_CREAT O_DIRECT O_DIRECTORY O_DSYNC O_EXCL
    O_FSYNC O_LARGEFILE O_NDELAY O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_RDONLY O_RDWR O_RSYNC O_SYNC
    O_TMPFILE O_TRUNC O_WRONLY offsetof ONCE_FLAG_INIT optarg opterr optind OPTIONAL optopt OUT P_tmpdir PIPE_BUF
    program_invocation_name program_invocation_short_name ptrdiff_t R_OK RWF_WRITE_LIFE_NOT_SET
    RWH_WRITE_LIFE_EXTREME RWH_WRITE_LIFE_LONG RWH_WRITE_LIFE_MEDIUM RWH_WRITE_LIFE_NONE RWH_WRITE_LIFE_NOT_SET
    RWH_WRITE_LIFE_SHORT S_BLKSIZE S_IEXEC S_IFBLK S_IFCHR S_IFDIR S_IFIFO S_IFLNK S_IFMT S_IFREG S_IFSOCK S_IREAD
    S_IRGRP S_IROTH S_IRUSR S_IRWXG S_IRWXO S_IRWXU S_ISGID S_ISUID S_ISVTX S_IWGRP S_IWOTH S_IWRITE S_IWUSR S_IXGRP
    S_IXOTH S_IXUSR sa_handler sa_sigaction sched_priority si_addr si_addr_lsb si_arch si_band si_call_addr si_fd
    si_int si_lower si_overrun si_pid si_pkey si_ptr si_status si_stime si_syscall si_timerid si_uid si_upper
    si_utime si_value sigev_notify_attributes sigev_notify_function sigjmp_buf signgam size_t small SNAN SNANF
    SNANF128 SNANF32 SNANF32X SNANF64 SNANF64X SNANL SPLICE_F_GIFT SPLICE_F_MORE SPLICE_F_MOVE SPLICE_F_NONBLOCK
    ssize_t st_atime st_ctime st_mtime stderr STDERR_FILENO stdin STDIN_FILENO stdout STDOUT_FILENO
    SYNC_FILE_RANGE_WAIT_AFTER SYNC_FILE_RANGE_WAIT_BEFORE SYNC_FILE_RANGE_WRITE SYNC_FILE_RANGE_WRITE_AND_WAIT
    time_t timezone TRUE tzname u_char u_int u_long u_short uint uint16_t uint32_t uint64_t uint8_t uintmax_t
    uintptr_t ulong unix ushort va_list VOID W_OK WCONTINUED WEOF WEXITED WNOHANG WNOWAIT WSTOPPED WUNTRACED X_OK
    """
)
"""Types, variables and macros of headers, on Linux and on Windows."""

ERRNO = _words(
    """
    E2BIG EACCES EADDRINUSE EADDRNOTAVAIL EADV EAFNOSUPPORT EAGAIN EALREADY EBADE EBADF EBADFD EBADMSG EBADR EBADRQC
    EBADSLT EBFONT EBUSY ECANCELED ECHILD ECHRNG ECOMM ECONNABORTED ECONNREFUSED ECONNRESET EDEADLK EDEADLOCK
    EDESTADDRREQ EDOM EDOTDOT EDQUOT EEXIST EFAULT EFBIG EHOSTDOWN EHOSTUNREACH EHWPOISON EIDRM EILSEQ EINPROGRESS
    EINTR EINVAL EIO EISCONN EISDIR EISNAM EKEYEXPIRED EKEYREJECTED EKEYREVOKED EL2HLT EL2NSYNC EL3HLT EL3RST
    ELIBACC ELIBBAD ELIBEXEC ELIBMAX ELIBSCN ELNRNG ELOOP EMEDIUMTYPE EMFILE EMLINK EMSGSIZE EMULTIHOP ENAMETOOLONG
    ENAVAIL ENETDOWN ENETRESET ENETUNREACH ENFILE ENOANO ENOBUFS ENOCSI ENODATA ENODEV ENOENT ENOEXEC ENOKEY ENOLCK
    ENOLINK ENOMEDIUM ENOMEM ENOMSG ENONET ENOPKG ENOPROTOOPT ENOSPC ENOSR ENOSTR ENOSYS ENOTBLK ENOTCONN ENOTDIR
    ENOTEMPTY ENOTNAM ENOTRECOVERABLE ENOTSOCK ENOTSUP ENOTTY ENOTUNIQ ENXIO EOPNOTSUPP EOVERFLOW EOWNERDEAD EPERM
    EPFNOSUPPORT EPIPE EPROTO EPROTONOSUPPORT EPROTOTYPE ERANGE EREMCHG EREMOTE EREMOTEIO ERESTART ERFKILL EROFS
    ESHUTDOWN ESOCKTNOSUPPORT ESPIPE ESRCH ESRMNT ESTALE ESTRPIPE ETIME ETIMEDOUT ETOOMANYREFS ETXTBSY EUCLEAN
    EUNATCH EUSERS EWOULDBLOCK EXDEV EXFULL
    """
)
"""Macros of <errno.h>."""

_FAMILIES = re.compile(
    r"(ADJ|AT|ATOMIC|BC|BUS|CLD|CLOCK|CLONE|CLOSE|CPU|CS|DBL|EXIT|FD|FE|FLT|FP|FPE|GCC|HUGE|ILL|ITIMER|LC|LDBL|LOCK|MADV)"
    r"_[A-Z0-9_]+"
    r"|(MAP|MATH|MB|MCL|MFD|MOD|MS|NL|PC|PKEY|POLL|POSIX|PROT|PTHREAD|RE|REG|RENAME|RTLD|SA|SC|SCHED|SEEK|SEGV|SEM|SI)"
    r"_[A-Z0-9_]+"
    r"|(SIG|SIGEV|SS|STA|STATX|SYS|TIME|TIMER|TRAP|TSS|UTIME|WORD|XATTR)_[A-Z0-9_]+"
    r"|SYS_\w+|\w+_(MAX|MIN|WIDTH|BIT|ENDIAN)|SIG[A-Z0-9]{2,}|M_\w+f(32|64|128)x?"
    r"|(PRI|SCN)[diouxX](8|16|32|64|FAST\d+|LEAST\d+|MAX|PTR)|\w+_t|cl[A-Z]\w*|pthread_\w+"
)
"""Families of macros, of POSIX types, which end in _t, and of OpenCL's and POSIX's functions."""

FUNCTIONS = _words(
    """
    a64l abort abs access acct acos acosf acosh acoshf acoshl acosl adjtime alarm aligned_alloc alloca arc4random
    arc4random_buf arc4random_uniform asctime asctime_r asin asinf asinh asinhf asinhl asinl at_quick_exit atan
    atan2 atan2f atan2l atanf atanh atanhf atanhl atanl atexit atof atoi atol atoll bcmp bcopy be16toh be32toh
    be64toh brk bsearch btowc bzero c16rtomb c32rtomb cabs cabsf cabsl cacos cacosf cacosh cacoshf cacoshl cacosl
    call_once calloc carg cargf cargl casin casinf casinh casinhf casinhl casinl catan catanf catanh catanhf catanhl
    catanl cbrt cbrtf cbrtl ccos ccosf ccosh ccoshf ccoshl ccosl ceil ceilf ceill cexp cexpf cexpl chdir chmod chown
    chroot cimag cimagf cimagl clearenv clearerr clearerr_unlocked clock clock_getcpuclockid clock_getres
    clock_gettime clock_nanosleep clock_settime clog clogf clogl close closefrom CMPLX CMPLXF CMPLXL cnd_broadcast
    cnd_destroy cnd_init cnd_signal cnd_timedwait cnd_wait confstr conj conjf conjl copysign copysignf copysignl cos
    cosf cosh coshf coshl cosl cpow cpowf cpowl cproj cprojf cprojl creal crealf creall creat crypt csin csinf csinh
    csinhf csinhl csinl csqrt csqrtf csqrtl ctan ctanf ctanh ctanhf ctanhl ctanl ctermid ctime ctime_r daemon
    difftime div dlerror dprintf drand48 drand48_r drem dremf dreml dup dup2 duplocale dysize ecvt ecvt_r
    endusershell erand48 erand48_r erf erfc erfcf erfcl erff erfl execl execle execlp execv execve execvp exit exp
    exp2 exp2f exp2l expf expl explicit_bzero expm1 expm1f expm1l fabs fabsf fabsl faccessat fchdir fchmod fchmodat
    fchown fchownat fclose fcntl fcvt fcvt_r fdatasync fdim fdimf fdiml fdopen feclearexcept fegetenv
    fegetexceptflag fegetround feholdexcept feof feof_unlocked feraiseexcept ferror ferror_unlocked fesetenv
    fesetexceptflag fesetround fetestexcept feupdateenv fexecve fflush fflush_unlocked ffs ffsl ffsll fgetc
    fgetc_unlocked fgetpos fgets fgetwc fgetws fileno fileno_unlocked finite finitef finitel flockfile floor floorf
    floorl fma fmaf fmal fmax fmaxf fmaxl fmemopen fmin fminf fminl fmod fmodf fmodl fopen fork fpathconf fpclassify
    fprintf fputc fputc_unlocked fputs fputwc fputws fread fread_unlocked free freelocale freopen frexp frexpf
    frexpl fscanf fseek fseeko fsetpos fstat fstatat fsync ftell ftello ftruncate ftrylockfile funlockfile futimens
    futimes fwide fwprintf fwrite fwrite_unlocked fwscanf gamma gammaf gammal gcvt getc getc_unlocked getchar
    getchar_unlocked getcwd getdelim getdomainname getdtablesize getegid getentropy getenv geteuid getgid getgroups
    gethostid gethostname getitimer getline getloadavg getlogin getlogin_r getopt getpagesize getpass getpgid
    getpgrp getpid getppid gets getsid getsubopt gettimeofday getuid getusershell getw getwc getwchar getwd gmtime
    gmtime_r gsignal htobe16 htobe32 htobe64 htole16 htole32 htole64 hypot hypotf hypotl ilogb ilogbf ilogbl imaxabs
    imaxdiv index initstate initstate_r INT16_C INT32_C INT64_C INT8_C INTMAX_C isalnum isalnum_l isalpha isalpha_l
    isascii isascii_l isatty isblank isblank_l iscntrl iscntrl_l isdigit isdigit_l isfinite isgraph isgraph_l
    isgreater isgreaterequal isinf isinff isinfl isless islessequal islessgreater islower islower_l isnan isnanf
    isnanl isnormal isprint isprint_l ispunct ispunct_l isspace isspace_l issubnormal isunordered isupper isupper_l
    iswalnum iswalnum_l iswalpha iswalpha_l iswblank iswblank_l iswcntrl iswcntrl_l iswctype iswctype_l iswdigit
    iswdigit_l iswgraph iswgraph_l iswlower iswlower_l iswprint iswprint_l iswpunct iswpunct_l iswspace iswspace_l
    iswupper iswupper_l iswxdigit iswxdigit_l isxdigit isxdigit_l j0 j0f j0l j1 j1f j1l jn jnf jnl jrand48 jrand48_r
    kill killpg l64a labs lchmod lchown lcong48 lcong48_r ldexp ldexpf ldexpl ldiv le16toh le32toh le64toh lgamma
    lgamma_r lgammaf lgammaf_r lgammal lgammal_r link linkat llabs lldiv llrint llrintf llrintl llround llroundf
    llroundl localeconv localtime localtime_r lockf log log10 log10f log10l log1p log1pf log1pl log2 log2f log2l
    logb logbf logbl logf logl longjmp lrand48 lrand48_r lrint lrintf lrintl lround lroundf lroundl lseek lstat
    lutimes madvise malloc mblen mbrlen mbrtoc16 mbrtoc32 mbrtowc mbsinit mbsnrtowcs mbsrtowcs mbstowcs mbtowc
    memccpy memchr memcmp memcpy memmove memset mincore mkdir mkdirat mkdtemp mkfifo mkfifoat mknod mknodat mkstemp
    mkstemps mktemp mktime mlock mlockall mmap modf modff modfl mprotect mrand48 mrand48_r msync mtx_destroy
    mtx_init mtx_lock mtx_plain mtx_recursive mtx_timed mtx_timedlock mtx_trylock mtx_unlock munlock munlockall
    munmap nan nanf nanl nanosleep nearbyint nearbyintf nearbyintl newlocale nextafter nextafterf nextafterl
    nexttoward nexttowardf nexttowardl nice nrand48 nrand48_r on_exit once_flag open open_memstream open_wmemstream
    openat pathconf pause pclose perror pipe popen posix_fadvise posix_fallocate posix_madvise posix_memalign pow
    powf powl pread printf profil pselect psiginfo psignal putc putc_unlocked putchar putchar_unlocked putenv puts
    putw putwc putwchar pwrite qecvt qecvt_r qfcvt qfcvt_r qgcvt qsort quick_exit raise rand rand_r random random_r
    read readlink readlinkat realloc reallocarray realpath remainder remainderf remainderl remove remquo remquof
    remquol rename renameat revoke rewind rindex rint rintf rintl rmdir round roundf roundl rpmatch S_ISBLK S_ISCHR
    S_ISDIR S_ISFIFO S_ISLNK S_ISREG S_ISSOCK S_TYPEISMQ S_TYPEISSEM S_TYPEISSHM sbrk scalb scalbf scalbl scalbln
    scalblnf scalblnl scalbn scalbnf scalbnl scanf sched_get_priority_max sched_get_priority_min sched_getparam
    sched_getscheduler sched_rr_get_interval sched_setparam sched_setscheduler sched_yield seed48 seed48_r select
    sem_close sem_destroy sem_getvalue sem_init sem_open sem_post sem_timedwait sem_trywait sem_unlink sem_wait
    setbuf setbuffer setdomainname setegid setenv seteuid setgid sethostid sethostname setitimer setjmp setlinebuf
    setlocale setlogin setpgid setpgrp setregid setreuid setsid setstate setstate_r settimeofday setuid setusershell
    setvbuf shm_open shm_unlink sigaction sigaddset sigaltstack sigblock sigdelset sigemptyset sigfillset siggetmask
    siginterrupt sigismember siglongjmp sigmask signal signbit significand significandf significandl sigpending
    sigprocmask sigqueue sigreturn sigsetjmp sigsetmask sigstack sigsuspend sigtimedwait sigval sigwait sigwaitinfo
    sin sinf sinh sinhf sinhl sinl sleep snprintf sprintf sqrt sqrtf sqrtl srand srand48 srand48_r srandom srandom_r
    sscanf ssignal stat stpcpy stpncpy strcasecmp strcasecmp_l strcat strchr strcmp strcoll strcoll_l strcpy strcspn
    strdup strerror strerror_l strerror_r strftime strftime_l strlen strncasecmp strncasecmp_l strncat strncmp
    strncpy strndup strnlen strpbrk strrchr strsep strsignal strspn strstr strtod strtof strtoimax strtok strtok_r
    strtol strtold strtoll strtoq strtoul strtoull strtoumax strtouq strxfrm strxfrm_l swprintf swscanf symlink
    symlinkat sync syscall sysconf system tan tanf tanh tanhf tanhl tanl tcgetpgrp tcsetpgrp TEMP_FAILURE_RETRY
    tempnam tgamma tgammaf tgammal thrd_busy thrd_create thrd_current thrd_detach thrd_equal thrd_error thrd_exit
    thrd_join thrd_nomem thrd_sleep thrd_success thrd_timedout thrd_yield time timegm timelocal timer_create
    timer_delete timer_getoverrun timer_gettime timer_settime timeradd timerclear timercmp timerisset timersub
    timespec_get TIMESPEC_TO_TIMEVAL TIMEVAL_TO_TIMESPEC tmpfile tmpnam tmpnam_r toascii toascii_l tolower tolower_l
    toupper toupper_l towctrans towctrans_l towlower towlower_l towupper towupper_l trunc truncate truncf truncl
    tss_create tss_delete tss_get tss_set ttyname ttyname_r ttyslot tzset ualarm UINT16_C UINT32_C UINT64_C UINT8_C
    UINTMAX_C umask ungetc ungetwc unlink unlinkat unsetenv uselocale usleep utimensat utimes va_arg va_copy va_end
    va_start valloc vdprintf vfork vfprintf vfscanf vfwprintf vfwscanf vhangup vprintf vscanf vsnprintf vsprintf
    vsscanf vswprintf vswscanf vwprintf vwscanf wcpcpy wcpncpy wcrtomb wcscasecmp wcscasecmp_l wcscat wcschr wcscmp
    wcscoll wcscoll_l wcscpy wcscspn wcsdup wcsftime wcslen wcsncasecmp wcsncasecmp_l wcsncat wcsncmp wcsncpy
    wcsnlen wcsnrtombs wcspbrk wcsrchr wcsrtombs wcsspn wcsstr wcstod wcstof wcstoimax wcstok wcstol wcstold wcstoll
    wcstombs wcstoul wcstoull wcstoumax wcsxfrm wcsxfrm_l wctob wctomb wctrans wctrans_l wctype wctype_l WEXITSTATUS
    WIFCONTINUED WIFEXITED WIFSIGNALED WIFSTOPPED wmemchr wmemcmp wmemcpy wmemmove wmemset wprintf write wscanf
    WSTOPSIG WTERMSIG y0 y0f y0l y1 y1f y1l yn ynf ynl
    """
)
"""Functions, and macros with arguments: only a name at file scope collides with these."""

SYMBOL_PREFIXES = _words(
    """
    argz authnone clnt clntraw clnttcp clntudp clntunix cnd epoll memfd mtx posix_spawnattr pthread sem svc svcfd svcraw
    svctcp svcudp svcunix svcunixfd thrd timer timerfd tss xdrmem xdrrec xdrstdio
    """
)
"""Prefixes of C library functions that end like a generated function: thrd_create, sem_destroy, svc_run."""

OPENCL_PREFIXES = _words(
    "as async atom atomic convert fast get half intel mem native ndrange read sub vload vstore wait work write"
)
"""Prefixes of OpenCL C's functions: a kernel's name is the model's and a layer's, and could be get_global_id."""

HEADERS = _words(
    """
    acc_prof aio aliases alloca ar argp argz assert backtrace byteswap cet complex conio cpio cpuid ctype cxxabi
    direct dirent dlfcn elf endian envz err errno error execinfo fcntl features fenv float fmtmsg fnmatch
    fpu_control fstab fts ftw gconv gcov getopt glob grp gshadow iconv ieee754 ifaddrs intrin inttypes io iso646
    langinfo lastlog libgen libintl limits link locale malloc math mcheck memory mm3dnow mm_malloc mntent monetary
    mqueue netdb nl_types nss obstack omp openacc paths poll printf proc_service process pthread pty pwd quadmath
    quadmath_weak re_comp regex regexp resolv sched search semaphore setjmp sgtty shadow signal spawn stab stdalign
    stdarg stdatomic stdbool stddef stdfix stdint stdio stdio_ext stdlib stdnoreturn string strings syscall sysexits
    syslimits syslog tar tchar termio termios tgmath thread_db threads time ttyent uchar ucontext ulimit unistd
    unwind utime utmp utmpx values varargs wait wchar wctype windows winsock winsock2 wordexp
    """
)
"""Headers of C, POSIX, gcc and Windows, in lower case: <math.h> would include math.h of the generated folder."""

CMAKE_TARGETS = _words(
    """
    all all_build clean cmakefiles ctest depend edit_cache experimental continuous nightly help install install_local
    install_strip list_install_components package package_source preinstall rebuild_cache run_tests test zero_check
    """
)
"""Targets that CMake defines itself, in lower case."""

LIBRARIES = _words("c crypt dl gcc GL m opencl OpenCL pthread resolv rt stdc stdcxx util cmake CMAKE project PROJECT")
"""Libraries that a linker or CMake knows by these names; a project called CMAKE would set CMAKE_SOURCE_DIR."""


def is_taken(name: str) -> bool:
    """True if a header has a type, variable or macro of this name."""
    return name in TYPES_AND_MACROS or name in ERRNO or _FAMILIES.fullmatch(name) is not None
