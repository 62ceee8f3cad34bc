/* bench.c - how fast swin.h runs a model here: milliseconds, a profile by steps, the machine's peak

   cc -std=c99 -O2 tools/bench/bench.c -o bench -lm -lpthread */
#define SWIN_IMPLEMENTATION
#include "../../examples/common.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

static const char usage[] =
    "usage: bench MODEL.swin [IN.npy] [options]      or: bench --peak [--threads N]\n"
    "\n"
    "Runs a model on IN.npy (float32 [3,H,W], already normalised) or on a generated picture.\n"
    "  --size WxH            of the generated picture (512x512)\n"
    "  --threads N           (1)\n"
    "  --cpu NAME            scalar, avx2, avx2_vnni, avx512, avx512_vnni, avx512_amx, neon or\n"
    "                        best (best)\n"
    "  --outputs WHAT        classes, logits, features or scores (what the model is for)\n"
    "  --direct              plain convolutions everywhere\n"
    "  --runs N              after a first one (5); medians are printed\n"
    "  --from STEP           times only what begins with the first step of this name\n"
    "  --profile             prints a table of the steps\n"
    "  --serve               for other programs: runs once for each line of standard input and\n"
    "                        answers with the milliseconds; the first line tells the setting\n"
    "  --peak                prints the float32 peak of each instruction set, in GFLOP/s\n"
    "Exit status: 0 done, 2 usage, 3 the model or the input failed.\n";

enum { DONE, USAGE = 2, FAILED };

static int fail(int status, const char *what, const char *why)
{
    fprintf(stderr, "bench: %s%s%s\n", what, *what ? ": " : "", why);
    return status;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_size);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* -------------------------------------------------------------------------- */
/* the machine's float32 peak: multiply-adds between registers, and nothing else              */

typedef struct peak_set {
    swin_cpu cpu;
    void (*loop)(long rounds, float *data);
    int multiply_adds;          /* a round */
} peak_set;

enum { PEAK_CHAINS = 12, PEAK_LANES = 16 };

/* Twelve chains hide the latency of two units of four cycles; `fma` is x * y + z. */
#define PEAK_EACH(X, p) \
    X(0, p) X(1, p) X(2, p) X(3, p) X(4, p) X(5, p) X(6, p) X(7, p) X(8, p) X(9, p) \
    X(10, p) X(11, p)
#define PEAK_DECLARE(i, vector) vector x##i;
#define PEAK_START(i, load) x##i = load(data + PEAK_LANES * i);
#define PEAK_TERM(i, fma) x##i = fma(x##i, most, less);
#define PEAK_STORE(i, store) store(data + PEAK_LANES * i, x##i);
#define PEAK_LOOP(name, target, vector, set, load, fma, store) \
    target static void name(long rounds, float *data) \
    { \
        const vector most = set(0.999f), less = set(0.001f); \
        PEAK_EACH(PEAK_DECLARE, vector) \
        PEAK_EACH(PEAK_START, load) \
        while (rounds--) { PEAK_EACH(PEAK_TERM, fma) } \
        PEAK_EACH(PEAK_STORE, store) \
    }

#if defined(__x86_64__)
PEAK_LOOP(peak_avx2, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps, _mm256_loadu_ps,
          _mm256_fmadd_ps, _mm256_storeu_ps)
PEAK_LOOP(peak_avx512, __attribute__((target("avx512f"))), __m512, _mm512_set1_ps, _mm512_loadu_ps,
          _mm512_fmadd_ps, _mm512_storeu_ps)
#elif defined(__aarch64__)
#define NEON_FMA(x, y, z) vfmaq_f32(z, x, y)
PEAK_LOOP(peak_neon, , float32x4_t, vdupq_n_f32, vld1q_f32, NEON_FMA, vst1q_f32)
#endif

static const peak_set peak_sets[] = {
#if defined(__x86_64__)
    { SWIN_CPU_AVX2, peak_avx2, 8 * PEAK_CHAINS },
    { SWIN_CPU_AVX2_VNNI, peak_avx2, 8 * PEAK_CHAINS },
    { SWIN_CPU_AVX512, peak_avx512, 16 * PEAK_CHAINS },
    { SWIN_CPU_AVX512_VNNI, peak_avx512, 16 * PEAK_CHAINS },
#elif defined(__aarch64__)
    { SWIN_CPU_NEON, peak_neon, 4 * PEAK_CHAINS },
    { SWIN_CPU_NEON_DOT, peak_neon, 4 * PEAK_CHAINS },
    { SWIN_CPU_NEON_I8MM, peak_neon, 4 * PEAK_CHAINS },
#endif
    { SWIN_CPU_SCALAR, NULL, 0 }
};

enum { PEAK_ROUNDS = 10000000, PEAK_TRIES = 8 };

static void peak_task(void *arg, int index)
{
    float data[PEAK_CHAINS * PEAK_LANES] = {0};
    (void)index;
    ((const peak_set *)arg)->loop(PEAK_ROUNDS, data);
}

/* GFLOP/s of all threads of the pool together: the best of some tries, as the machine is shared. */
static double peak_of(pool *workers, const peak_set *set)
{
    int threads = workers->workers + 1;
    double best = 0;
    for (int i = 0; i < PEAK_TRIES; i++) {
        double start = seconds(), rate;
        pool_run(workers, peak_task, (void *)(uintptr_t)set, threads);
        rate = 2e-9 * PEAK_ROUNDS * set->multiply_adds * threads / (seconds() - start);
        if (best < rate) best = rate;
    }
    return best;
}

/* The peak of an instruction set; 0 where none is known. */
static double peak_of_cpu(pool *workers, swin_cpu cpu)
{
    for (const peak_set *s = peak_sets; s->loop; s++)
        if (s->cpu == cpu) return peak_of(workers, s);
    return 0;
}

static void print_peaks(pool *workers)
{
    for (const peak_set *s = peak_sets; s->loop; s++)
        if (swin_cpu_available(s->cpu))
            printf("%s %.1f\n", swin_cpu_name(s->cpu), peak_of(workers, s));
}

/* -------------------------------------------------------------------------- */
/* runs, step by step as swin_run does them                                   */

typedef struct bench {
    swin_context *context;
    swin_image image;
    int from, steps, runs;      /* steps from `from` on count */
    int *taken;                 /* [steps] how often the run at hand took each */
    double *times;              /* [steps][runs] milliseconds in a step, all repeats together */
} bench;

static swin_step_info step_of(const bench *b, int at)
{
    swin_step_info info = {0};
    swin_plan_step(b->context, at, &info);
    return info;
}

/* The step after `at`, which was taken: a sliding window repeats those of a crop for each crop of a
   row, and only then come those of a row; a row's end is followed by the first step. */
static int step_after(const bench *b, int at)
{
    if (at + 1 == b->steps) return 0;
    int turns = step_of(b, at).repeats / step_of(b, at + 1).repeats;
    return b->taken[at] < turns * (b->taken[at + 1] + 1) ? 0 : at + 1;
}

/* Times every step of one run into its column of the times. */
static swin_status take_steps(bench *b, int run)
{
    swin_status status = swin_begin(b->context, &b->image);
    if (status == SWIN_OK) status = SWIN_MORE;
    for (int i = 0; i < b->steps; i++) b->taken[i] = 0, b->times[i * b->runs + run] = 0;
    for (int at = 0; status == SWIN_MORE; at = step_after(b, at)) {
        double start = seconds();
        status = swin_step(b->context, step_of(b, at).units);
        b->times[at * b->runs + run] += 1e3 * (seconds() - start);
        b->taken[at]++;
    }
    return status;
}

/* Milliseconds of the steps that count, in one run. Negative where the run failed. */
static double run_once(bench *b, int run)
{
    double sum = 0;
    if (take_steps(b, run) != SWIN_OK) return -1;
    for (int i = b->from; i < b->steps; i++) sum += b->times[i * b->runs + run];
    return sum;
}

/* Multiply-adds of a step in the whole run, in billions. */
static double giga_madds(const swin_step_info *info) { return 1e-9 * info->madds * info->repeats; }

/* Of the steps that count. */
static double counted_madds(const bench *b)
{
    double sum = 0;
    swin_step_info info;
    for (int i = b->from; swin_plan_step(b->context, i, &info); i++) sum += giga_madds(&info);
    return sum;
}

/* Steps that are one line of the profile: the blocks of a stage, a convolution's bands. */
static int alike(const swin_step_info *a, const swin_step_info *b)
{
    return !strcmp(a->name, b->name) && a->stage == b->stage && a->units == b->units
        && a->repeats == b->repeats && (a->madds > 0) == (b->madds > 0);
}

static void print_profile(const bench *b, double peak)
{
    double total = 0;
    swin_step_info info, other;
    for (int i = 0; i < b->steps; i++) total += median(b->times + i * b->runs, b->runs);
    printf("\n%-18s%6s%6s%7s%8s%10s%8s%10s%10s%8s\n", "step", "stage", "steps", "units", "repeats",
           "ms", "share", "GMADD", "GFLOP/s", "of peak");
    for (int i = 0; swin_plan_step(b->context, i, &info); i++) {
        double ms = 0, giga = 0;
        int count = 0, earlier = 0;
        for (int j = 0; swin_plan_step(b->context, j, &other); j++) {
            if (!alike(&info, &other)) continue;
            earlier |= j < i;
            ms += median(b->times + j * b->runs, b->runs);
            giga += giga_madds(&other);
            count++;
        }
        if (earlier) continue;
        printf("%-18s%6d%6d%7d%8d%10.2f%7.1f%%%10.3f", info.name, info.stage, count, info.units,
               info.repeats, ms, 100 * ms / total, giga);
        if (giga > 0) printf("%10.1f", 2e3 * giga / ms);
        if (giga > 0 && peak > 0) printf("%7.1f%%", 2e5 * giga / ms / peak);
        printf("\n");
    }
}

/* -------------------------------------------------------------------------- */
/* the program                                                                */

typedef struct settings {
    const char *model, *input, *from;
    int width, height, threads, runs, profile, serve;
    swin_desc desc;
} settings;

/* Answers each line of standard input with the milliseconds of a run. */
static int serve(bench *b)
{
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        double ms = run_once(b, 0);
        if (ms < 0) return fail(FAILED, "", swin_error_text(b->context));
        printf("%.4f\n", ms);
        fflush(stdout);
    }
    return DONE;
}

static int measure(bench *b, const settings *s, pool *workers)
{
    double peak = peak_of_cpu(workers, swin_cpu_used(b->context)), giga = counted_madds(b), ms;
    double *totals = (double *)malloc((size_t)s->runs * sizeof *totals);
    if (!totals) return fail(FAILED, "", "no memory for the times");
    for (int i = 0; i < s->runs; i++)
        if ((totals[i] = run_once(b, i)) < 0)
            return fail(FAILED, "", swin_error_text(b->context));
    ms = median(totals, s->runs);
    printf("median %.2f ms, least %.2f ms of %d runs; %.2f GMADD, %.1f GFLOP/s", ms, totals[0],
           s->runs, giga, 2e3 * giga / ms);
    if (peak > 0) printf(" = %.1f%% of %.1f GFLOP/s", 2e5 * giga / ms / peak, peak);
    printf("\n");
    if (s->profile) print_profile(b, peak);
    free(totals);
    return DONE;
}

/* The first step of a name, or -1. */
static int step_named(const swin_context *c, const char *name)
{
    swin_step_info info;
    for (int i = 0; swin_plan_step(c, i, &info); i++)
        if (!strcmp(info.name, name)) return i;
    return -1;
}

/* Counts the plan's steps and makes room for the times of each. */
static int make_times(bench *b, int runs)
{
    for (swin_step_info info; swin_plan_step(b->context, b->steps, &info);) b->steps++;
    b->runs = runs;
    b->taken = (int *)malloc((size_t)b->steps * sizeof *b->taken);
    b->times = (double *)malloc((size_t)b->steps * (size_t)runs * sizeof *b->times);
    return b->taken && b->times;
}

/* Runs the context once and says what it takes, then measures or serves. */
static int run(bench *b, const settings *s, pool *workers, size_t size, double made_ms)
{
    if (s->from && (b->from = step_named(b->context, s->from)) < 0)
        return fail(USAGE, s->from, "no step has this name");
    if (!make_times(b, s->runs)) return fail(FAILED, "", "no memory for the times");
    double first_ms = run_once(b, 0);
    if (first_ms < 0) return fail(FAILED, s->model, swin_error_text(b->context));
    printf(s->serve ? "{\"cpu\": \"%s\", \"threads\": %d, \"workspace\": %.0f, \"made_ms\": %.3f, "
                      "\"first_ms\": %.3f, \"gmadd\": %.4f}\n"
                    : "%s, %d threads, workspace of %.0f bytes, made in %.2f ms, "
                      "first run %.2f ms, %.2f GMADD\n",
           swin_cpu_name(swin_cpu_used(b->context)), workers->workers + 1, (double)size, made_ms,
           first_ms, counted_madds(b));
    fflush(stdout);
    return s->serve ? serve(b) : measure(b, s, workers);
}

static int make_and_run(const swin_model *m, swin_image image, const settings *s, pool *workers)
{
    swin_error error;
    bench b = {0};
    double start = seconds();
    size_t size = swin_workspace_size(m, &s->desc, &error);
    if (!size) return fail(FAILED, s->model, error.text);
    void *memory = workspace_new(size);
    if (!memory) return fail(FAILED, s->model, "no memory for the workspace");
    b.image = image;
    int status = swin_init(&b.context, m, &s->desc, memory, size, &error)
               ? fail(FAILED, s->model, error.text)
               : run(&b, s, workers, size, 1e3 * (seconds() - start));
    free(b.taken);
    free(b.times);
    free(memory);
    return status;
}

/* The input as an image: the array, or the generated picture. `hold` is for the caller to free. */
static int make_image(swin_image *image, settings *s, void **hold)
{
    char why[256];
    npy in = {0};
    if (s->input) {
        if (!npy_read(&in, s->input, why)) return fail(FAILED, s->input, why);
        *hold = in.data;
        if (in.shape[0] != 3) return fail(FAILED, s->input, "its shape is not [3,H,W]");
        s->width = (int)in.shape[2];
        s->height = (int)in.shape[1];
        image->format = SWIN_PLANES;
    } else {
        *hold = malloc((size_t)s->width * (size_t)s->height * 3);
        if (!*hold) return fail(FAILED, "", "no memory for the picture");
        swin_reference_picture((unsigned char *)*hold, s->width, s->height, 1);
    }
    image->data = *hold;
    image->width = s->desc.width = s->width;
    image->height = s->desc.height = s->height;
    return DONE;
}

static int load_and_run(settings *s, pool *workers)
{
    file_bytes blob;
    swin_error error;
    swin_model model;
    swin_image image = {0};
    void *hold = NULL;
    int why = file_load(s->model, &blob), status;
    if (why) return fail(FAILED, s->model, strerror(why));
    status = swin_open(&model, blob.data, blob.size, 0, &error)
           ? fail(FAILED, s->model, error.text) : make_image(&image, s, &hold);
    if (!status) status = make_and_run(&model, image, s, workers);
    free(hold);
    file_free(&blob);
    return status;
}

static int outputs_named(const char *name)
{
    return !strcmp(name, "classes") ? SWIN_OUT_CLASSES : !strcmp(name, "logits") ? SWIN_OUT_LOGITS
         : !strcmp(name, "features") ? SWIN_OUT_FEATURES
         : !strcmp(name, "scores")   ? SWIN_OUT_SCORES
                                     : 0;
}

/* Reads the option at *at and its value, if it takes one; 0 where it makes no sense. */
static int read_option(settings *s, int argc, char **argv, int *at)
{
    const char *name = argv[*at], *value = *at + 1 < argc ? argv[*at + 1] : "";
    char why[256];
    if (!strcmp(name, "--profile")) return s->profile = 1;
    if (!strcmp(name, "--serve")) return s->serve = 1;
    if (!strcmp(name, "--direct")) return (s->desc.flags = SWIN_RUN_DIRECT) != 0;
    ++*at;
    if (!strcmp(name, "--size"))
        return sscanf(value, "%dx%d", &s->width, &s->height) == 2 && s->width > 0 && s->height > 0;
    if (!strcmp(name, "--threads")) return (s->threads = number(value, 1, THREADS_MAX)) != 0;
    if (!strcmp(name, "--runs")) return (s->runs = number(value, 1, 100000)) != 0;
    if (!strcmp(name, "--from")) return *(s->from = value) != 0;
    if (!strcmp(name, "--outputs")) return (s->desc.outputs = (unsigned)outputs_named(value)) != 0;
    if (!strcmp(name, "--cpu")) {
        int cpu = cpu_of_name(value, why);
        s->desc.cpu = (swin_cpu)cpu;
        return cpu >= 0 || (fail(USAGE, "--cpu", why), 0);
    }
    return 0;
}

int main(int argc, char **argv)
{
    settings s = {0};
    int peak = 0, status;
    s.width = s.height = 512;
    s.threads = 1;
    s.runs = 5;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help")) return fputs(usage, stdout), DONE;
        if (!strcmp(argv[i], "--peak")) peak = 1;
        else if (strncmp(argv[i], "--", 2) && !s.model) s.model = argv[i];
        else if (strncmp(argv[i], "--", 2) && !s.input) s.input = argv[i];
        else if (!read_option(&s, argc, argv, &i)) return fputs(usage, stderr), USAGE;
    }
    if (!s.model && !peak) return fputs(usage, stderr), USAGE;

    pool workers;
    pool_start(&workers, s.threads);
    pool_serve(&workers, &s.desc);
    status = peak ? (print_peaks(&workers), DONE) : load_and_run(&s, &workers);
    pool_stop(&workers);
    return status;
}
