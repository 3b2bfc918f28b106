"""Which names a spec may give, so that they can stand in generated C, in file names and in comments as they are."""

from __future__ import annotations

import re
from collections.abc import Callable

from codegen.frontend.place import show
from codegen.frontend.reserved import HOST_WORDS

MAX_IDENTIFIER = 40
MAX_LAYER = 120

# Single underscores between: a leading, trailing or double one makes names that C or C++ reserve, once a prefix or
# suffix is put to it.
IDENTIFIER = r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*"
LAYER = r"[A-Za-z_][A-Za-z0-9_.\-]*"


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


_KEYWORDS = _words(
    # C99 to C23
    """alignas alignof asm auto bool break case char const constexpr continue default do double else enum extern false
    float for goto if inline int long nullptr register restrict return short signed sizeof static static_assert struct
    switch thread_local true typedef typeof typeof_unqual union unsigned void volatile while""",
    # C++20
    """and and_eq bitand bitor catch char8_t char16_t char32_t class co_await co_return co_yield compl concept
    const_cast consteval constinit decltype delete dynamic_cast explicit export friend mutable namespace new noexcept
    not not_eq operator or or_eq private protected public reinterpret_cast requires static_cast template this throw try
    typeid typename using virtual wchar_t xor xor_eq""",
)

# Types and macros of the headers that a host includes, on Linux and on Windows.
_HEADERS = _words(
    """BOOL CONST DELETE EOF ERROR FALSE FILE IN NULL OPTIONAL OUT TRUE VOID assert errno far huge hyper int16_t int32_t
    int64_t int8_t interface intmax_t intptr_t linux main max max_align_t min near offsetof ptrdiff_t size_t small
    ssize_t stderr stdin stdout time_t uint16_t uint32_t uint64_t uint8_t uintmax_t uintptr_t unix va_list"""
)

# Functions of the C library: the model's name becomes a type at file scope, where these are declared.
_FUNCTIONS = _words(
    """abort abs acos acosh asin asinh atan atan2 atanh atexit atof atoi atol atoll bsearch calloc cbrt ceil clearerr
    clock copysign cos cosh ctime difftime div erf erfc exit exp exp2 expm1 fabs fclose fdim feof ferror fflush fgetc
    fgetpos fgets floor fma fmax fmin fmod fopen fprintf fputc fputs fread free freopen frexp fscanf fseek fsetpos ftell
    fwrite gamma getc getchar getenv gets gmtime hypot ilogb index isalnum isalpha isdigit isfinite isinf islower isnan
    isnormal isspace isupper isxdigit j0 j1 jn labs ldexp ldiv lgamma llabs lldiv llrint llround localtime log log10
    log1p log2 logb longjmp lrint lround malloc mblen memchr memcmp memcpy memmove memset mktime modf nan nearbyint
    nextafter nexttoward perror pow printf putc putchar puts qsort raise rand read realloc remainder remove remquo
    rename rewind rindex rint round scalbln scalbn scanf select setbuf setjmp setvbuf signal signbit sin sinh snprintf
    sprintf sqrt srand sscanf strcat strchr strcmp strcpy strcspn strerror strlen strncat strncmp strncpy strpbrk
    strrchr strspn strstr strtod strtof strtok strtol strtoul system tan tanh tgamma time tmpfile tmpnam tolower toupper
    trunc ungetc vprintf write y0 y1 yn"""
)

# Names that generated functions use for other arguments and variables.
_LOCALS = _words("model device context queue status event events num_events wait_list run_batch enqueue_on_buffers")

_FILES = _words("example manifest")
_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))]
)


def model_fault(name: str) -> str | None:
    """What is wrong with a model's name, and a legal one; None if nothing is.

    The name becomes file names, a type and a prefix of symbols.
    """
    return _with_remedy(_model_fault(name), legal_model(name))


def port_fault(name: str, model: str) -> str | None:
    """What is wrong with the name of an input or output of this model, and a legal one; None if nothing is.

    The name becomes an argument.
    """
    return _with_remedy(_port_fault(name, model), legal_port(name, model))


def layer_fault(name: str) -> str | None:
    """What is wrong with a layer's name, and a legal one; None if nothing is."""
    fault = None
    if not re.fullmatch(LAYER, name):
        fault = f"{show(name)} should be letters, digits, _ . and -, starting with a letter or _"
    elif len(name) > MAX_LAYER:
        fault = f"{show(name)} has {len(name)} characters; {MAX_LAYER} is the most"
    return _with_remedy(fault, legal_layer(name))


def legal_model(wanted: str) -> str:
    """The name itself if a model may have it, else a legal one like it."""
    return identifier(wanted, lambda name: _model_fault(name) is None, "net")


def legal_port(wanted: str, model: str) -> str:
    """The name itself if an input or output of this model may have it, else a legal one like it."""
    return identifier(wanted, lambda name: _port_fault(name, model) is None, "data")


def legal_layer(wanted: str) -> str:
    """The name itself if a layer may have it, else a legal one like it."""
    base = re.sub(r"[/:]+", ".", wanted)
    base = re.sub(r"[^A-Za-z0-9_.\-]+", "_", base).strip(".-_")
    if not base or not re.match(r"[A-Za-z_]", base):
        base = f"layer_{base}".rstrip("_")
    return base[: MAX_LAYER - 8]


def identifier(original: str, free: Callable[[str], bool], suffix: str) -> str:
    """The name if it is free, else the nearest C identifier that is."""
    if free(original):
        return original
    base = re.sub(r"[^A-Za-z0-9]+", "_", original).strip("_")
    base = re.sub(r"_+", "_", base)
    if not base or not base[0].isalpha():
        base = f"{suffix}_{base}".rstrip("_")
    # Some names are refused for how they begin; two beginnings of our own cannot both be.
    base = base[: MAX_IDENTIFIER - 12].rstrip("_")
    candidates = [base, f"{base}_{suffix}", f"{suffix}_{base}", f"of_{base}"]
    k = 1
    while not any(map(free, candidates)):
        k += 1
        candidates = [f"{base}_{k}", f"{suffix}_{base}_{k}", f"of_{base}_{k}"]
    return next(filter(free, candidates))


def _model_fault(name: str) -> str | None:
    fault = _identifier_fault(name)
    if fault is None and name in _FUNCTIONS:
        fault = f"{show(name)} is a function of the C library"
    if fault is None and name.lower() in _FILES:
        fault = f"{show(name)} is the name of another generated file"
    if fault is None and name.lower() in _WINDOWS_DEVICES:
        fault = f"{show(name)} is a device on Windows, which has no files of that name"
    if fault is None and name in HOST_WORDS:
        fault = f"{show(name)} is used by the generated host"
    return fault


def _port_fault(name: str, model: str) -> str | None:
    fault = _identifier_fault(name)
    if fault is None and name.lower() in _LOCALS:
        fault = f"{show(name)} is the name of another argument of the generated functions"
    if fault is None and (name in HOST_WORDS and name.isupper()):
        fault = f"{show(name)} is a macro of the generated host"
    if fault is None and name.lower().startswith(f"{model.lower()}_"):
        fault = f"{show(name)} begins like the generated functions"
    if fault is None and name.lower() == model.lower():
        fault = f"{show(name)} is the name of the model"
    return fault


def file_fault(name: str) -> str | None:
    """What is wrong with the name of a spec's file, which stands in comments of generated files; None if nothing."""
    if not name.isprintable() or "\\" in name:
        return f"file name {show(name)} should have no control characters and no backslash"
    return None


def symbol(name: str) -> str:
    """The form in which names must differ: what is left of a name in a C macro."""
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def _identifier_fault(name: str) -> str | None:
    if not re.fullmatch(IDENTIFIER, name):
        return (
            f"{show(name)} should be a C identifier: letters, digits and single underscores between, "
            "starting with a letter"
        )
    if len(name) > MAX_IDENTIFIER:
        return f"{show(name)} has {len(name)} characters; {MAX_IDENTIFIER} is the most"
    if name in _KEYWORDS:
        return f"{show(name)} is a keyword of C or C++"
    if name in _HEADERS or name.lower().startswith("cl_") or name == "cl":
        return f"{show(name)} is taken by a C, Windows or OpenCL header"
    return None


def _with_remedy(fault: str | None, legal: str) -> str | None:
    return None if fault is None else f"{fault}; take another, such as {show(legal)}"
