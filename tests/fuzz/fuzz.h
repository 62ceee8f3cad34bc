/* fuzz.h - what the fuzzers share: choices drawn from an input, failures, a main for other tools

   A fuzzer is built for libFuzzer, or with -DFUZZ_MAIN as a program of its own, for AFL++, valgrind
   or a debugger: `program FILE...` runs those inputs, `program -runs=N -seed=S` runs N inputs made
   of numbers S, S + 1, ... Include it after swin.h's implementation and ../model.h. */
#ifndef FUZZ_H
#define FUZZ_H

#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- choices ---------------------------------------------------------------------------------- */

static const uint8_t *input_at, *input_end;
static uint32_t beyond;     /* the state of the numbers that follow the input's end */

/* Starts to draw from an input. What lies beyond it depends on all of it, so that a short input
   is a whole random case, and a longer one steers as much of it as it covers. */
static void draw_from(const uint8_t *data, size_t size)
{
    input_at = data;
    input_end = data + size;
    beyond = 2166136261u;
    for (size_t i = 0; i < size; i++) beyond = (beyond ^ data[i]) * 16777619u;
    beyond |= !beyond;
}

static uint32_t draw_byte(void)
{
    if (input_at < input_end) return *input_at++;
    beyond ^= beyond << 13, beyond ^= beyond >> 17, beyond ^= beyond << 5;
    return beyond >> 24;
}

static uint32_t draw_word(void)
{
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) word = word << 8 | draw_byte();
    return word;
}

/* 0 .. sides - 1 */
static uint32_t draw(uint32_t sides)
{
    return sides <= 256 ? draw_byte() % sides : draw_word() % sides;
}

/* low .. high */
static inline uint32_t between(uint32_t low, uint32_t high)
{
    return low + draw(high - low + 1);
}

/* Once in `times`. */
static inline uint32_t rarely(uint32_t times) { return draw(times) == times - 1; }

#define ONE_OF(array) ((array)[draw(sizeof (array) / sizeof *(array))])

/* --- failures --------------------------------------------------------------------------------- */

static void (*describe)(void);      /* prints the case at hand; NULL: nothing to say */

static void broken(const char *promise, const char *detail)
{
    fprintf(stderr, "\nbroken promise: %s%s%s\n", promise, *detail ? ": " : "", detail);
    if (describe) describe();
    fflush(stderr);
    abort();
}

#define PROMISE(holds, promise) do { if (!(holds)) broken(promise, ""); } while (0)

/* --- memory ----------------------------------------------------------------------------------- */

enum { FENCE = 64, FENCE_BYTE = 0xa5 };

/* Memory between two fences of bytes, at an offset from a multiple of 64. */
typedef struct fenced { unsigned char *block, *bytes; size_t size; } fenced;

static inline fenced fenced_new(size_t size, size_t offset, int byte)
{
    fenced f;
    f.block = (unsigned char *)need(size + 3 * FENCE + offset);
    f.bytes = f.block + FENCE + (64 - (uintptr_t)f.block % 64) + offset % 64;
    f.size = size;
    memset(f.block, FENCE_BYTE, size + 3 * FENCE + offset);
    memset(f.bytes, byte, size);
    return f;
}

static inline void fenced_free(fenced f)
{
    for (int i = 1; i <= FENCE; i++)
        PROMISE(f.bytes[-i] == FENCE_BYTE && f.bytes[f.size + (size_t)i - 1] == FENCE_BYTE,
                "nothing outside the memory given is written");
    free(f.block);
}

/* --- counts, printed at the end --------------------------------------------------------------- */

static struct { const char *what; unsigned long times; } tally[32];

static void print_tally(void)
{
    for (int i = 0; i < 32 && tally[i].what; i++)
        fprintf(stderr, "%10lu %s\n", tally[i].times, tally[i].what);
}

static inline void count(const char *what)
{
    int i = 0;
    if (!tally[0].what) atexit(print_tally);
    while (i < 31 && tally[i].what && strcmp(tally[i].what, what)) i++;
    tally[i].what = what;
    tally[i].times++;
}

/* --- without libFuzzer ------------------------------------------------------------------------ */

#ifdef FUZZ_MAIN
static int run_file(const char *name)
{
    static uint8_t bytes[1 << 16];
    FILE *file = fopen(name, "rb");
    if (!file) return perror(name), 1;
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return LLVMFuzzerTestOneInput(bytes, size);
}

int main(int argc, char **argv)
{
    uint64_t runs = 0, seed = 1;
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "-runs=", 6)) runs = strtoull(argv[i] + 6, NULL, 10);
        else if (!strncmp(argv[i], "-seed=", 6)) seed = strtoull(argv[i] + 6, NULL, 10);
        else failed |= run_file(argv[i]);
    }
    for (; runs; runs--, seed++) {
        const uint64_t mixed = seed * 0x9e3779b97f4a7c15u;
        uint8_t input[8];
        for (int i = 0; i < 8; i++) input[i] = (uint8_t)(mixed >> (56 - 8 * i));
        LLVMFuzzerTestOneInput(input, sizeof input);
    }
    return failed;
}
#endif
#endif
