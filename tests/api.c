/* tests/api.c - what swin.h promises to the program around it: memory, threads, slices, errors, and
   the same bits whatever of them is used

   cc -std=c99 -O2 tests/api.c -lm -lpthread && ./a.out      (also with -DSWIN_DEBUG) */

#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The easy tier's memory is counted and can be made to run out; nothing else may allocate. */
static int handed_out, allocations, failing;

static void *counted_malloc(size_t size)
{
    void *p = ++allocations == failing || size > (size_t)1 << 40 ? NULL : malloc(size);
    handed_out += p != NULL;
    return p;
}

static void counted_free(void *p)
{
    handed_out -= p != NULL;
    free(p);
}

#define SWIN_MALLOC(size) counted_malloc(size)
#define SWIN_FREE(p) counted_free(p)
#define SWIN_IMPLEMENTATION
#include "../swin.h"
#include "model.h"
#include "report.h"
#include "session.h"
#include "results.h"

static blob blobs[MODELS];
static swin_model models[MODELS];

/* --- one run, in exactly the memory it asks for ----------------------------------------------- */

/* Segments `in`, which must not fail, to finite results. */
static uint64_t once(const swin_model *m, swin_desc d, swin_image in)
{
    const session s = start(m, d);
    const swin_status status = swin_run(s.c, &in);
    const uint64_t h = status ? 0 : results(s.c);
    if (status) printf("%s: %s\n", swin_status_text(status), swin_error_text(s.c));
    if (!h) report("a run with finite results", 0);
    free(s.memory);
    return h;
}

/* As a share of a's largest value; infinite for tensors of other shapes or with NaNs. */
static float largest_difference(swin_tensor a, swin_tensor b)
{
    float difference = 0, value = 0;
    if (a.channels != b.channels || a.height != b.height || a.width != b.width || !is_finite(a)
        || !is_finite(b))
        return INFINITY;
    for (int c = 0; c < a.channels; c++)
        for (int y = 0; y < a.height; y++)
            for (int x = 0; x < a.width; x++) {
                difference = fmaxf(difference, fabsf(element(a, c, y, x) - element(b, c, y, x)));
                value = fmaxf(value, fabsf(element(a, c, y, x)));
            }
    return value > 0 ? difference / value : INFINITY;
}

/* --- ways to run tasks ------------------------------------------------------------------------ */

static void reversed(void *user, swin_task task, void *arg, int count)
{
    (void)user;
    for (int i = count - 1; i >= 0; i--) task(arg, i);
}

static void shuffled(void *user, swin_task task, void *arg, int count)
{
    int *order = (int *)need((size_t)count * sizeof *order);
    (void)user;
    for (int i = 0; i < count; i++) {
        const int j = (int)dice((uint32_t)i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (int i = 0; i < count; i++) task(arg, order[i]);
    free(order);
}

typedef struct job { swin_task task; void *arg; int index; } job;

static void *do_job(void *arg)
{
    const job *j = (const job *)arg;
    j->task(j->arg, j->index);
    return NULL;
}

static void threaded(void *user, swin_task task, void *arg, int count)
{
    pthread_t thread[8];
    job jobs[8];
    (void)user;
    for (int i = 0; i < count; i++) {
        const job j = {task, arg, i};
        jobs[i] = j;
        if (pthread_create(&thread[i], NULL, do_job, &jobs[i])) exit(2);
    }
    for (int i = 0; i < count; i++) pthread_join(thread[i], NULL);
}

/* --- the same bits ---------------------------------------------------------------------------- */

static uint64_t in_slices(const swin_model *m, swin_desc d, swin_image in, int tasks)
{
    const session s = start(m, d);
    float before = 0;
    int steps = 0, ok = swin_begin(s.c, &in) == SWIN_OK && swin_progress(s.c) == 0;
    swin_status status = SWIN_MORE;
    while (status == SWIN_MORE) {
        status = swin_step(s.c, tasks);
        ok &= swin_progress(s.c) >= before && swin_progress(s.c) <= 1.0001f;
        before = swin_progress(s.c);
        steps++;
    }
    ok &= status == SWIN_OK && before == 1 && (tasks > 1 || steps > 3);
    ok &= swin_step(s.c, 1) == SWIN_ARGUMENT;
    const uint64_t h = ok ? results(s.c) : 0;
    free(s.memory);
    return h;
}

/* Pieces, orders, threads and slices against one run in one piece. */
static int same_in_pieces(const swin_model *m, swin_desc d, swin_image in, uint64_t expected)
{
    static const struct { int tasks; swin_parallel_for way; } ways[] = {
        {1, shuffled}, {2, reversed}, {2, threaded}, {3, shuffled}, {7, reversed}, {7, threaded}};
    static const int slices[] = {1, 2, 7};
    int ok = 1;
    for (int i = 0; i < 3; i++) ok &= in_slices(m, d, in, slices[i]) == expected;
    for (int i = 0; i < 6; i++) {
        d.tasks = ways[i].tasks;
        d.parallel_for = ways[i].way;
        ok &= once(m, d, in) == expected;
    }
    return ok & (in_slices(m, d, in, 5) == expected);
}

static void test_same_bits(void)
{
    static const int sizes[][2] = {{1, 1}, {1, 2}, {5, 3}, {97, 31}, {3, 120}, {48, 64}, {65, 33}};
    static const int larger[][2] = {{70, 66}, {72, 64}}; /* WIDE_UPER; 18 x 16 doubled */
    for (int which = 0; which < MODELS; which++) {
        const int wide = which == WIDE_UPER;
        const int by = which == ONEFORMER ? 3 : 1;      /* its scores are of 384 x 384 pixels */
        int sets = 1, pieces = 1, apart = 1;
        uint64_t last = 0;
        for (int i = 0; i < (wide ? 2 : 7); i += by) {
            const int w = (wide ? larger : sizes)[i][0], h = (wide ? larger : sizes)[i][1];
            unsigned char *rgb = make_rgb(w, h);
            swin_desc d = desc_of(w, h);
            d.cpu = SWIN_CPU_SCALAR;
            const uint64_t expected = once(&models[which], d, picture(rgb, w, h));
            apart &= expected != 0 && expected != last;
            last = expected;
            for (int cpu = SWIN_CPU_BEST + 1; cpu < SWIN_CPU_COUNT; cpu++) {
                d.cpu = (swin_cpu)cpu;
                if (!swin_cpu_available(d.cpu)) continue;
                sets &= once(&models[which], d, picture(rgb, w, h)) == expected;
                if (cpu != SWIN_CPU_SCALAR || (i < 3 && !wide))
                    pieces &= same_in_pieces(&models[which], d, picture(rgb, w, h), expected);
            }
            free(rgb);
        }
        printf("%s ", model_names[which]);
        report("results depend on the picture and are finite", apart);
        printf("%s ", model_names[which]);
        report("same bits on all instruction sets", sets);
        printf("%s ", model_names[which]);
        report("same bits in pieces, orders, threads and slices", pieces);
    }
}

/* So many windows with tokens of their own that a step takes them whole. */
static void test_many_windows(void)
{
    enum { W = 100, H = 96 };
    const swin_model *m = &models[GLAM_UPER];
    unsigned char *rgb = make_rgb(W, H);
    swin_desc d = desc_of(W, H);
    const uint64_t best = once(m, d, picture(rgb, W, H));
    d.cpu = SWIN_CPU_SCALAR;
    report("many windows with global tokens, the same bits",
           best && once(m, d, picture(rgb, W, H)) == best);
    free(rgb);
}

/* Pictures of another size than the network's input; repeated runs of one context. */
static void test_again(void)
{
    enum { W = 50, H = 37 };
    unsigned char *rgb = make_rgb(W, H), *other = make_rgb(W, H);
    int ok = 1;
    memset(other, 77, W * H);
    for (int which = 0; which < WIDE_UPER; which++) {
        swin_desc d = desc_of(31, 60);
        d.picture_width = W;
        d.picture_height = H;
        d.cpu = SWIN_CPU_SCALAR;
        const uint64_t expected = once(&models[which], d, picture(rgb, W, H));
        const session s = start(&models[which], desc_of(W, H));
        const swin_image in = picture(rgb, W, H), in2 = picture(other, W, H);
        uint64_t first = 0, second = 0;
        d.cpu = SWIN_CPU_BEST;
        ok &= expected && same_in_pieces(&models[which], d, picture(rgb, W, H), expected);
        ok &= swin_run(s.c, &in) == SWIN_OK && (first = results(s.c)) != 0;
        ok &= swin_run(s.c, &in2) == SWIN_OK && (second = results(s.c)) != first;
        ok &= swin_run(s.c, &in) == SWIN_OK && results(s.c) == first;
        ok &= swin_run(s.c, &in2) == SWIN_OK && results(s.c) == second;
        free(s.memory);
    }
    report("repeated runs and resized pictures", ok);
    free(rgb);
    free(other);
}

typedef struct watch { const swin_model *m; swin_image in; uint64_t expected; int ok; } watch;

static void *watched(void *arg)
{
    watch *w = (watch *)arg;
    const session s = start(w->m, desc_of(w->in.width, w->in.height));
    w->ok = 1;
    for (int i = 0; i < 20; i++)
        w->ok &= swin_run(s.c, &w->in) == SWIN_OK && results(s.c) == w->expected;
    free(s.memory);
    return NULL;
}

static void test_two_contexts(void)
{
    const swin_model *m = &models[GLAM_UPER];
    unsigned char *rgb = make_rgb(40, 40), *other = make_rgb(23, 51);
    watch w[2] = {{m, picture(rgb, 40, 40), 0, 0}, {m, picture(other, 23, 51), 0, 0}};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        w[i].expected = once(m, desc_of(w[i].in.width, w[i].in.height), w[i].in);
    for (int i = 0; i < 2; i++)
        if (pthread_create(&thread[i], NULL, watched, &w[i])) exit(2);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    report("two contexts on two threads over one model", w[0].ok && w[1].ok);
    free(rgb);
    free(other);
}

/* Plain convolutions against Winograd, taps and doubling. */
static void test_direct(void)
{
    const swin_model *m = &models[WIDE_UPER];
    unsigned char *rgb = make_rgb(72, 64);
    const swin_image in = picture(rgb, 72, 64);
    swin_desc d = desc_of(72, 64);
    const session fast = start(m, d);
    d.flags = SWIN_RUN_DIRECT;
    const session plain = start(m, d);
    const int ran = swin_run(fast.c, &in) == SWIN_OK && swin_run(plain.c, &in) == SWIN_OK;
    const float error = largest_difference(swin_logits(fast.c), swin_logits(plain.c));
    printf("largest difference %.1e, ", (double)error);
    report("direct convolutions", ran && error > 0 && error <= 5e-5f);
    free(fast.memory);
    free(plain.memory);
    free(rgb);
}

/* --- ways to look ----------------------------------------------------------------------------- */

/* Without the logits a sliding window keeps a ring of rows: the classes must not notice. */
static void test_sliding_window(void)
{
    static const int sizes[][2] = {{24, 40}, {25, 41}, {90, 100}, {97, 31}, {13, 120}};
    const swin_model *m = &models[PSP_HEAD];
    int same = 1, smaller = 1, whole = 1;
    for (int i = 0; i < 5; i++) {
        const int h = sizes[i][0], w = sizes[i][1];
        unsigned char *rgb = make_rgb(2 * w, h + 5);
        const swin_image in = picture(rgb, 2 * w, h + 5);
        swin_desc d = desc_of(w, h);
        d.picture_width = 2 * w;
        d.picture_height = h + 5;
        d.outputs = SWIN_OUT_CLASSES;
        const session ring = start_as(m, d);
        d.outputs |= SWIN_OUT_LOGITS;
        const session all = start_as(m, d);
        d.flags = SWIN_RUN_WHOLE;
        const session once = start_as(m, d);
        same &= !swin_run(ring.c, &in) && !swin_run(all.c, &in) && !swin_run(once.c, &in);
        same &= !memcmp(swin_classes(ring.c).data, swin_classes(all.c).data,
                        (size_t)(2 * w * (h + 5)));
        smaller &= ring.size < all.size || h <= 25;
        whole &= swin_logits(once.c).height == (h + 3) / 4 / 2 + (h + 3) / 4 % 2
                 && (swin_logits(all.c).height == h || (h <= 24 && w <= 40));
        free(ring.memory);
        free(all.memory);
        free(once.memory);
        free(rgb);
    }
    report("a sliding window over a ring of rows", same && smaller);
    report("the whole picture where it is asked for", whole);
}

static void test_flip(void)
{
    enum { W = 60, H = 44 };
    const swin_model *m = &models[WIDE_UPER];
    unsigned char *rgb = make_rgb(W, H), *mirrored = (unsigned char *)need(3 * W * H);
    for (int i = 0; i < W * H; i++)
        memcpy(mirrored + 3 * i, rgb + 3 * (i / W * W + W - 1 - i % W), 3);
    const swin_image in = picture(rgb, W, H), in2 = picture(mirrored, W, H);
    swin_desc d = desc_of(W, H);
    const session plain = start_as(m, d);
    d.flags = SWIN_RUN_FLIP;
    const session flipped = start_as(m, d);
    int ok = swin_run(plain.c, &in2) == SWIN_OK && swin_run(flipped.c, &in) == SWIN_OK;
    const uint16_t *a = (const uint16_t *)swin_classes(plain.c).data,
                   *b = (const uint16_t *)swin_classes(flipped.c).data;
    for (int i = 0; i < W * H; i++) ok &= a[i / W * W + W - 1 - i % W] == b[i];
    report("a flipped picture's classes are turned back", ok);
    free(plain.memory);
    free(flipped.memory);
    free(rgb);
    free(mirrored);
}

/* Confidence, floats and votes against each other; classes do not change with them. */
static void test_confidence(void)
{
    enum { W = 37, H = 29 };
    static const float LIMIT = 0.3f;
    const swin_model *m = &models[GLAM_UPER];
    const int classes = m->config.classes;
    unsigned char *rgb = make_rgb(W, H);
    float *votes = (float *)need((size_t)(W * H * classes) * sizeof *votes);
    uint8_t decided[W * H];
    const swin_image in = picture(rgb, W, H);
    swin_desc d = desc_of(W, H);
    memset(votes, 0, (size_t)(W * H * classes) * sizeof *votes);
    d.outputs = SWIN_OUT_CLASSES;
    const session plain = start_as(m, d);
    d.outputs = SWIN_OUT_CLASSES | SWIN_OUT_CONFIDENCE_F32;
    d.votes = votes;
    const session floats = start_as(m, d);
    d.outputs = SWIN_OUT_CONFIDENCE;
    d.votes = NULL;
    d.threshold = LIMIT;
    const session bytes = start_as(m, d);
    int ok = !swin_run(plain.c, &in) && !swin_run(floats.c, &in) && !swin_run(floats.c, &in)
             && !swin_run(bytes.c, &in), doubtful = 0;
    const uint8_t *ids = (const uint8_t *)swin_classes(plain.c).data,
                  *kept = (const uint8_t *)swin_classes(bytes.c).data,
                  *sure = (const uint8_t *)swin_confidence(bytes.c).data;
    const float *exact = (const float *)swin_confidence(floats.c).data;
    ok &= swin_confidence(floats.c).bytes == 4 && swin_confidence(bytes.c).bytes == 1;
    swin_decide(votes, W * H, classes, 2, LIMIT, decided);
    for (int i = 0; i < W * H; i++) {
        float sum = 0;
        for (int k = 0; k < classes; k++) sum += votes[i * classes + k];
        ok &= fabsf(sum - 2) < 1e-5f && votes[i * classes + ids[i]] == 2 * exact[i];
        ok &= sure[i] == (uint8_t)(exact[i] * 255 + 0.5f);
        ok &= kept[i] == (exact[i] < LIMIT ? SWIN_IGNORE : ids[i]) && decided[i] == kept[i];
        doubtful += exact[i] < LIMIT;
    }
    report("confidence, threshold and votes", ok && doubtful > 0 && doubtful < W * H);
    free(plain.memory);
    free(floats.memory);
    free(bytes.memory);
    free(votes);
    free(rgb);
}

/* A centre crop is the picture's middle, resized; another rule for the same pixels must agree. */
static void test_centre_crop(void)
{
    swin_model m = models[SWIN_V2];
    unsigned char *rgb = make_rgb(60, 40);
    const swin_image in = picture(rgb, 60, 40);
    swin_image middle = picture(rgb + 3 * (60 * 4 + 14), 32, 32);
    swin_desc d;
    memset(&d, 0, sizeof d);
    m.config.picture.mode = SWIN_MODE_CENTRE;
    m.config.picture.resize_rule = SWIN_RESIZE_SHORTEST;
    m.config.picture.resize_a = 40;
    m.config.picture.crop_h = m.config.picture.crop_w = 32;
    middle.stride = 3 * 60;
    d.picture_width = 60;
    d.picture_height = 40;
    const session crop = start_as(&m, d), part = start_as(&models[SWIN_V2], desc_of(32, 32));
    int ok = !swin_run(crop.c, &in) && !swin_run(part.c, &middle);
    const swin_tensor a = swin_scores(crop.c), b = swin_scores(part.c);
    ok &= a.channels == m.config.classes && largest_difference(a, b) == 0;
    report("a centre crop", ok);
    free(crop.memory);
    free(part.memory);
    free(rgb);
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Any address will do, not a byte around the workspace changes, and one byte less is refused. */
static void test_workspace(void)
{
    enum { AROUND = 128 };
    const swin_model *m = &models[GLAM_UPER];
    unsigned char *rgb = make_rgb(21, 18);
    const swin_image in = picture(rgb, 21, 18);
    const swin_desc d = desc_of(21, 18);
    const size_t size = swin_workspace_size(m, &d, NULL);
    unsigned char *memory = (unsigned char *)need(size + 2 * AROUND);
    int exact = 1, addresses = 1, around = 1;
    uint64_t expected = 0;
    for (size_t off = 0; off <= 64; off++) {
        unsigned char *at = memory + AROUND / 2 + off;
        swin_context *c;
        swin_error e;
        memset(memory, 0xa5, size + 2 * AROUND);
        exact &= swin_init(&c, m, &d, at, size - 1, &e) == SWIN_MEMORY && !c && strlen(e.text) > 10;
        addresses &= swin_init(&c, m, &d, at, size, &e) == SWIN_OK && swin_run(c, &in) == SWIN_OK;
        const swin_map map = swin_classes(c);
        const uint64_t h = hash(1, map.data, (size_t)(map.width * map.height));
        addresses &= !off || h == expected;
        expected = h;
        for (unsigned char *p = memory; p < memory + size + 2 * AROUND; p++)
            around &= (p >= at && p < at + size) || *p == 0xa5;
    }
    report("one byte too few is refused", exact);
    report("a workspace at any address", addresses);
    report("nothing around the workspace is written", around);
    swin_desc limited = d;
    swin_error e;
    limited.memory_limit = size;
    int ok = swin_workspace_size(m, &limited, &e) == size;
    limited.memory_limit = size - 1;
    ok &= swin_workspace_size(m, &limited, &e) == 0 && e.status == SWIN_MEMORY;
    report("memory limit", ok);
    free(memory);
    free(rgb);
}

/* A blob may begin at any multiple of 4, and nowhere else. */
static void test_blob_addresses(void)
{
    const blob b = blobs[GLAM_UPER];
    unsigned char *rgb = make_rgb(30, 20), *memory = (unsigned char *)need(b.size + 64);
    const swin_image in = picture(rgb, 30, 20);
    const uint64_t expected = once(&models[GLAM_UPER], desc_of(30, 20), in);
    int refused = 1, same = 1;
    for (size_t off = 1; off <= 64; off++) {
        swin_model m;
        swin_error e = {SWIN_OK, ""};
        memcpy(memory + off, b.bytes, b.size);
        const swin_status status = swin_open(&m, memory + off, b.size, SWIN_VERIFY, &e);
        if (off % 4) refused &= status == SWIN_ARGUMENT && !m.blob && strlen(e.text) > 10;
        else same &= status == SWIN_OK && once(&m, desc_of(30, 20), in) == expected;
    }
    report("a blob between words is refused", refused);
    report("a blob at any word", same);
    free(memory);
    free(rgb);
}

/* A limit is kept to with fewer tasks and smaller pieces, to the same bits, as far as that goes. */
static void test_memory_limit(void)
{
    swin_config g = model_config(WIDE_UPER);
    g.classes = 5;
    const blob b = make_blob(&g);
    swin_model m;
    unsigned char *rgb = make_rgb(280, 270);
    const swin_image in = picture(rgb, 280, 270);
    swin_desc d = desc_of(280, 270);
    swin_error e = {SWIN_OK, ""};
    if (swin_open(&m, b.bytes, b.size, 0, &e)) exit(2);
    d.outputs = SWIN_OUT_FEATURES | SWIN_OUT_CLASSES | SWIN_OUT_LOGITS | SWIN_OUT_CONFIDENCE;
    d.tasks = 8;
    d.parallel_for = reversed;
    const uint64_t expected = once(&m, d, in);
    int ok = expected != 0, plans = 0;
    for (size_t size = swin_workspace_size(&m, &d, &e), next; size; size = next, plans++) {
        ok &= once(&m, d, in) == expected;
        d.memory_limit = size - 1;
        next = swin_workspace_size(&m, &d, &e);
        ok &= next < size;
    }
    ok &= plans >= 3 && e.status == SWIN_MEMORY && strstr(e.text, "at least") != NULL;
    printf("%d plans, %s: ", plans, e.text);
    report("memory limits kept", ok);
    free(rgb);
    free(b.bytes);
}

/* A host that has turned on flush-to-zero gets the same results from ordinary pictures, and its
   setting back. */
static void test_flush_to_zero(void)
{
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    static const int which[] = {GLAM_UPER, WIDE_UPER, SWIN_V2};
    unsigned char *rgb = make_rgb(70, 66);
    const unsigned before = _mm_getcsr(), flush = before | 0x8040; /* FTZ, DAZ */
    int ok = 1;
    for (int i = 0; i < 3; i++) {
        const swin_model *m = &models[which[i]];
        const swin_desc d = desc_of(70, 66);
        const uint64_t expected = once(m, d, picture(rgb, 70, 66));
        _mm_setcsr(flush);
        const uint64_t flushed = once(m, d, picture(rgb, 70, 66));
        ok &= expected == flushed && (_mm_getcsr() | 0x3f) == (flush | 0x3f);
        _mm_setcsr(before);
    }
    report("under flush-to-zero", ok);
    free(rgb);
#endif
}

/* The pixels end right before a page that must not be touched, or begin right behind one. */
static void test_picture_bounds(void)
{
    enum { W = 33, H = 30, STRIDE = 3 * W + 5 };
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = STRIDE * (H - 1) + 3 * W;
    const size_t room = (bytes + page - 1) / page * page;
    unsigned char *map = (unsigned char *)mmap(NULL, room + 2 * page, PROT_NONE,
                                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + page, room, PROT_READ | PROT_WRITE)) exit(2);
    const swin_model *m = &models[FCN_HEAD];
    unsigned char *rgb = make_rgb(W, H);
    const uint64_t expected = once(m, desc_of(W, H), picture(rgb, W, H));
    unsigned char *const places[2] = {map + page, map + page + room - bytes};
    int ok = 1;
    for (int up = 0; up < 2; up++)
        for (int i = 0; i < 2; i++) {
            swin_image in = picture(up ? places[i] + STRIDE * (H - 1) : places[i], W, H);
            in.stride = up ? -STRIDE : STRIDE;
            for (int y = 0; y < H; y++)
                memcpy(places[i] + (up ? H - 1 - y : y) * STRIDE, rgb + y * 3 * W, 3 * W);
            ok &= once(m, desc_of(W, H), in) == expected;
        }
    report("no byte outside the picture is read", ok);
    munmap(map, room + 2 * page);
    free(rgb);
}

#ifdef SWIN_DEBUG
/* Writes where it should not while a step runs. */
static void damaging(void *user, swin_task task, void *arg, int count)
{
    **(unsigned char **)user ^= 1;
    reversed(NULL, task, arg, count);
}

/* A workspace ends with its buffers and the red zones between them, behind the list of zones. */
static void test_debug(void)
{
    const swin_model *m = &models[GLAM_UPER];
    unsigned char *rgb = make_rgb(30, 30), spare = 0, *at = &spare;
    const swin_image in = picture(rgb, 30, 30);
    swin_desc d = desc_of(30, 30);
    d.tasks = 2;
    d.parallel_for = damaging;
    d.user = &at;
    const session s = start(m, d);
    unsigned char *const end = (unsigned char *)s.memory + s.size;
    int seen = 0;
    for (at = (unsigned char *)(s.c->guards + s.c->guard_count); at < end && !seen; at += 64)
        seen = swin_run(s.c, &in) == SWIN_CORRUPT;
    report("an overrun is reported", seen);
    at = &spare;
    blobs[GLAM_UPER].bytes[HEADER + 60] ^= 1;
    report("a changed model is reported", swin_run(s.c, &in) == SWIN_CORRUPT);
    blobs[GLAM_UPER].bytes[HEADER + 60] ^= 1;
    report("the model as it was is fine", swin_run(s.c, &in) == SWIN_OK);
    free(s.memory);
    free(rgb);
}

static void twice(void *user, swin_task task, void *arg, int count)
{
    (void)user;
    for (int i = 0; i < count; i++) task(arg, i);
    task(arg, count / 2);
}

static void never(void *user, swin_task task, void *arg, int count)
{
    (void)user;
    for (int i = 1; i < count; i++) task(arg, i);
}

static void past_the_end(void *user, swin_task task, void *arg, int count)
{
    (void)user;
    for (int i = 1; i <= count; i++) task(arg, i);
    task(arg, -1);
}

/* A host that does not keep to the contract: of tasks, and of where a context is. */
static void test_host(void)
{
    static const swin_parallel_for wrong[] = {twice, never, past_the_end};
    const swin_model *m = &models[FCN_HEAD];
    unsigned char *rgb = make_rgb(40, 30);
    const swin_image in = picture(rgb, 40, 30);
    swin_desc d = desc_of(40, 30);
    int ok = 1;
    d.tasks = 5;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        d.parallel_for = wrong[i];
        const session s = start(m, d);
        ok &= swin_run(s.c, &in) == SWIN_CORRUPT && strstr(swin_error_text(s.c), "tasks");
        ok &= !swin_classes(s.c).data;
        free(s.memory);
    }
    report("tasks that run twice, never or past the end are reported", ok);

    d.parallel_for = NULL;
    const session s = start(m, d);
    unsigned char *elsewhere = (unsigned char *)need(s.size);
    const size_t at = (size_t)((unsigned char *)(void *)s.c - (unsigned char *)s.memory) + 64;
    ok = swin_begin(s.c, &in) == SWIN_OK;
    memcpy(elsewhere + at % 64, s.c, s.size - at);
    swin_context *copy = (swin_context *)(void *)(elsewhere + at % 64);
    ok &= swin_step(copy, 1) == SWIN_CORRUPT && strstr(swin_error_text(copy), "moved");
    ok &= swin_begin(copy, &in) == SWIN_CORRUPT;
    report("a context that was moved is reported", ok);
    free(elsewhere);
    free(s.memory);
    free(rgb);
}
#endif

/* --- cancelling ------------------------------------------------------------------------------- */

typedef struct canceller {
    swin_context *c;
    int calls, when, elsewhere, asked, answered;
} canceller;

/* Cancels at one call, itself or by waiting for another thread to do it. */
static void cancelling(void *user, swin_task task, void *arg, int count)
{
    canceller *k = (canceller *)user;
    if (k->calls++ == k->when) {
        if (!k->elsewhere) swin_cancel(k->c);
        __atomic_store_n(&k->asked, 1, __ATOMIC_SEQ_CST);
        while (k->elsewhere && !__atomic_load_n(&k->answered, __ATOMIC_SEQ_CST)) sched_yield();
    }
    reversed(NULL, task, arg, count);
}

static void *cancel_when_asked(void *arg)
{
    canceller *k = (canceller *)arg;
    while (!__atomic_load_n(&k->asked, __ATOMIC_SEQ_CST)) sched_yield();
    swin_cancel(k->c);
    __atomic_store_n(&k->answered, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void test_cancel(void)
{
    unsigned char *rgb = make_rgb(60, 44);
    const swin_image in = picture(rgb, 60, 44);
    const uint64_t expected = once(&models[GLAM_UPER], desc_of(60, 44), in);
    for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
        int ok = 1;
        for (int when = 0; when < 8; when++) {
            canceller k = {NULL, 0, when, elsewhere, 0, 0};
            swin_desc d = desc_of(60, 44);
            d.tasks = 3;
            d.parallel_for = cancelling;
            d.user = &k;
            const session s = start(&models[GLAM_UPER], d);
            pthread_t thread;
            k.c = s.c;
            if (elsewhere && pthread_create(&thread, NULL, cancel_when_asked, &k)) exit(2);
            ok &= swin_run(s.c, &in) == SWIN_CANCELLED && k.calls == when + 1;
            ok &= swin_step(s.c, 1) == SWIN_ARGUMENT && strlen(swin_error_text(s.c)) > 10;
            if (elsewhere) pthread_join(thread, NULL);
            ok &= swin_run(s.c, &in) == SWIN_OK && results(s.c) == expected;
            free(s.memory);
        }
        report(elsewhere ? "cancelled from another thread, then run again"
                         : "cancelled from parallel_for, then run again", ok);
    }
    const session s = start(&models[PLAIN], desc_of(60, 44));
    int ok = swin_begin(s.c, &in) == SWIN_OK && swin_step(s.c, 1) == SWIN_MORE;
    swin_cancel(s.c);
    ok &= swin_step(s.c, 1) == SWIN_CANCELLED;
    report("cancelled between steps", ok);
    free(s.memory);
    free(rgb);
}

/* --- pictures --------------------------------------------------------------------------------- */

/* Bytes of a pixel, and where its red, green and blue are. */
static const struct { swin_format format; int bytes, at[3]; } orders[] = {
    {SWIN_RGB8, 3, {0, 1, 2}}, {SWIN_BGR8, 3, {2, 1, 0}}, {SWIN_RGBA8, 4, {0, 1, 2}},
    {SWIN_BGRA8, 4, {2, 1, 0}}, {SWIN_GREY8, 1, {0, 0, 0}}};

static void test_formats(void)
{
    enum { W = 29, H = 22, PAD = 7 };
    unsigned char *rgb = make_rgb(W, H), *other = (unsigned char *)need(H * (4 * W + PAD));
    const swin_model *m = &models[GLAM_UPER];
    int ok = 1;
    for (int i = 0; i < 5; i++) {
        const int bytes = orders[i].bytes, stride = bytes * W + PAD;
        if (bytes == 1)
            for (int p = 0; p < W * H; p++) rgb[3 * p + 1] = rgb[3 * p + 2] = rgb[3 * p];
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                for (int k = 0; k < 3; k++)
                    other[y * stride + x * bytes + orders[i].at[k]] = rgb[(y * W + x) * 3 + k];
        swin_image in = picture(other, W, H);
        in.format = orders[i].format;
        in.stride = stride;
        ok &= once(m, desc_of(W, H), in) == once(m, desc_of(W, H), picture(rgb, W, H));
    }
    report("formats and strides", ok);
    free(rgb);
    free(other);
}

/* Normalised planes, bottom up and apart, give what the pixels give. */
static void test_planes(void)
{
    enum { W = 29, H = 22, LD = W + 3, PLANE = LD * H + 5 };
    unsigned char *rgb = make_rgb(W, H);
    float *planes = (float *)need(3 * PLANE * sizeof *planes);
    int ok = 1;
    for (int which = 0; which < WIDE_UPER; which++) {
        const swin_config *g = &models[which].config;
        for (int k = 0; k < 3; k++)
            for (int i = 0; i < W * H; i++) {
                const int color = g->picture.bgr ? 2 - k : k;
                const float centred = (float)rgb[3 * i + color] - g->picture.mean[color];
                planes[k * PLANE + (H - 1 - i / W) * LD + i % W] =
                    centred * g->picture.scale[color];
            }
        swin_image in = picture(NULL, W, H);
        in.data = planes + (H - 1) * LD;
        in.format = SWIN_PLANES;
        in.stride = -LD * (ptrdiff_t)sizeof(float);
        in.plane_stride = PLANE * (ptrdiff_t)sizeof(float);
        ok &= once(&models[which], desc_of(W, H), in)
              == once(&models[which], desc_of(W, H), picture(rgb, W, H));
    }
    report("planes", ok);
    free(rgb);
    free(planes);
}

/* One axis in double arithmetic: a triangle around the output's centre, as wide as the shrinking
   where antialiased. x has `lines` lines of n values of 3. */
static void resize_axis(const double *x, int n, double *y, int m, int antialias, size_t step,
                        int lines, size_t x_line, size_t y_line)
{
    const double scale = (double)n / m, wide = antialias && scale > 1 ? scale : 1;
    for (int o = 0; o < m; o++) {
        double sum = 0;
        for (int i = 0; i < n; i++) sum += fmax(0, 1 - fabs(i + 0.5 - (o + 0.5) * scale) / wide);
        for (int line = 0; line < lines; line++)
            for (size_t k = 0; k < 3; k++) {
                double value = 0;
                for (int i = 0; i < n; i++)
                    value += fmax(0, 1 - fabs(i + 0.5 - (o + 0.5) * scale) / wide) / sum
                             * x[(size_t)line * x_line + (size_t)i * step + k];
                y[(size_t)line * y_line + (size_t)o * step + k] = value;
            }
    }
}

/* The network sees the picture resized and normalised as the model says. */
static void test_resizing(void)
{
    static const int sizes[][4] = {{50, 40, 24, 20}, {20, 17, 61, 33}, {64, 9, 16, 30}};
    const swin_config *g = &models[FCN_HEAD].config;
    float worst = 0;
    for (int i = 0; i < 6; i++) {
        const int *s = sizes[i / 2], W = s[0], H = s[1], w = s[2], h = s[3], antialias = i % 2;
        const size_t across = 3 * (size_t)W, narrow = 3 * (size_t)w;
        unsigned char *rgb = make_rgb(W, H);
        double *from = (double *)need(across * (size_t)H * sizeof(double));
        double *between = (double *)need(narrow * (size_t)H * sizeof(double));
        double *to = (double *)need(narrow * (size_t)h * sizeof(double));
        float *planes = (float *)need(narrow * (size_t)h * sizeof(float));
        swin_model m = models[FCN_HEAD];
        swin_desc d = desc_of(w, h);
        swin_image in = picture(NULL, w, h);
        m.config.picture.resize_filter = antialias;
        for (int p = 0; p < W * H * 3; p++) from[p] = rgb[p];
        resize_axis(from, W, between, w, antialias, 3, H, across, narrow);
        /* columns: each triple of a row is one line, its values a row apart */
        for (int x = 0; x < w; x++)
            resize_axis(between + 3 * x, H, to + 3 * x, h, antialias, narrow, 1, 0, 0);
        for (int p = 0; p < w * h; p++)
            for (int k = 0; k < 3; k++)
                planes[k * w * h + p] = (float)((to[3 * p + k] - (double)g->picture.mean[k])
                                                * (double)g->picture.scale[k]);
        in.data = planes;
        in.format = SWIN_PLANES;
        const session expected = start(&m, d);
        d.picture_width = W;
        d.picture_height = H;
        const session got = start(&m, d);
        const swin_image pixels = picture(rgb, W, H);
        if (swin_run(expected.c, &in) || swin_run(got.c, &pixels)) exit(1);
        worst = fmaxf(worst, largest_difference(swin_logits(expected.c), swin_logits(got.c)));
        free(expected.memory);
        free(got.memory);
        free(rgb);
        free(from);
        free(between);
        free(to);
        free(planes);
    }
    printf("largest difference %.1e, ", (double)worst);
    report("resizing", worst > 0 && worst <= 5e-5f);
}

static int sized(const swin_model *m, int w, int h, int longest, int want_w, int want_h)
{
    const swin_resizing how = {longest, 0};
    int got_w = 0, got_h = 0;
    return swin_input_size(m, w, h, &how, &got_w, &got_h, NULL) == SWIN_OK && got_w == want_w
           && got_h == want_h;
}

/* A size by the model's rule, or with a longer side, times a factor. */
static int scaled(const swin_model *m, int longest, double scale, int want_w, int want_h)
{
    const swin_resizing how = {longest, scale};
    int got_w = 0, got_h = 0;
    return swin_input_size(m, 640, 480, &how, &got_w, &got_h, NULL) == SWIN_OK && got_w == want_w
           && got_h == want_h;
}

static void test_input_sizes(void)
{
    swin_model m = models[GLAM_UPER];
    swin_config *g = &m.config;
    swin_error e;
    const swin_resizing large = {20000, 0}, odd = {0, NAN};
    int w, h, ok = sized(&m, 640, 479, 0, 640, 479) && sized(&m, 640, 480, 320, 320, 240);
    ok &= sized(&m, 480, 640, 320, 240, 320) && sized(&m, 1000, 1, 100, 100, 1);
    g->picture.resize_a = 2048;
    g->picture.resize_b = 512;
    g->picture.resize_rule = SWIN_RESIZE_WITHIN;
    ok &= sized(&m, 640, 480, 0, 683, 512) && sized(&m, 480, 640, 0, 512, 683);
    ok &= sized(&m, 4000, 100, 0, 2048, 51) && scaled(&m, 0, 0.5, 341, 256);
    ok &= scaled(&m, 320, 1.5, 480, 360) && scaled(&m, 0, 0, 683, 512);
    g->picture.resize_rule = SWIN_RESIZE_LONGEST;
    ok &= sized(&m, 640, 480, 0, 2048, 1536) && sized(&m, 640, 480, 64, 64, 48);
    g->picture.resize_rule = SWIN_RESIZE_SHORTEST;
    g->picture.resize_a = 256;
    ok &= sized(&m, 640, 480, 0, 341, 256) && sized(&m, 64, 128, 0, 256, 512);
    g->picture.resize_rule = SWIN_RESIZE_EXACT;
    ok &= sized(&m, 640, 480, 0, 512, 256) && sized(&m, 640, 480, 64, 64, 48);
    g->sides.multiple = 96;
    ok &= sized(&m, 640, 480, 0, 576, 288) && sized(&m, 640, 480, 64, 96, 96);
    g->sides.multiple = 0;
    g->sides.cut = 1;           /* 100 * 100 / 33 is 303.03, 100 * 200 / 33 is 606.06 */
    g->picture.resize_rule = SWIN_RESIZE_SHORTEST;
    g->picture.resize_a = 100;
    ok &= sized(&m, 100, 33, 0, 303, 100) && sized(&m, 34, 101, 0, 100, 297);
    g->picture.resize_rule = SWIN_RESIZE_WITHIN;
    g->picture.resize_a = 296;
    g->picture.resize_b = 100;
    ok &= sized(&m, 34, 101, 0, 99, 296) && sized(&m, 101, 34, 0, 296, 99);
    ok &= sized(&m, 5000, 1, 0, 296, 1) && scaled(&m, 0, 0.5, 66, 50);
    g->sides.cut = 0;
    g->picture.resize_rule = SWIN_RESIZE_NONE;
    ok &= scaled(&m, 0, 1.25, 800, 600) && scaled(&m, 0, 0.001, 1, 1);
    ok &= swin_input_size(&m, 0, 5, 0, &w, &h, &e) == SWIN_SIZE && strlen(e.text) > 10;
    ok &= swin_input_size(&m, 1 << 20, 5, 0, &w, &h, &e) == SWIN_SIZE && strlen(e.text) > 10;
    ok &= swin_input_size(&m, 9000, 9000, 0, &w, &h, &e) == SWIN_SIZE && strlen(e.text) > 10;
    ok &= swin_input_size(&m, 5, 5, &large, &w, &h, &e) == SWIN_SIZE && strlen(e.text) > 10;
    ok &= swin_input_size(&m, 5, 5, &odd, &w, &h, &e) == SWIN_ARGUMENT && strlen(e.text) > 10;
    ok &= swin_input_size(NULL, 5, 5, 0, &w, &h, &e) == SWIN_ARGUMENT && strlen(e.text) > 10;
    ok &= swin_input_size(&m, 5, 5, 0, &w, NULL, NULL) == SWIN_ARGUMENT;
    report("input sizes", ok);
}

/* --- errors ----------------------------------------------------------------------------------- */

static int refuses(const swin_model *m, swin_desc d, swin_status status)
{
    swin_error e = {SWIN_OK, ""};
    swin_context *c;
    const int sized_no = swin_workspace_size(m, &d, &e) == 0 && e.status == status
                         && strlen(e.text) > 10 && swin_workspace_size(m, &d, NULL) == 0;
    return sized_no && swin_init(&c, m, &d, blobs, 1 << 30, NULL) == status && !c;
}

/* Models that do not take inputs of every size. */
static void test_model_sizes(void)
{
    swin_model m = models[PLAIN];
    m.config.input.rule = SWIN_INPUT_EXACT;
    int ok = refuses(&m, desc_of(4 * m.config.patch, 4 * m.config.patch + 1), SWIN_SIZE);
    m.config.input.w = m.config.input.h = 8 * m.config.patch;
    ok &= refuses(&m, desc_of(4 * m.config.patch, 8 * m.config.patch), SWIN_SIZE);
    report("inputs that a model does not take", ok);
}

/* --- averages --------------------------------------------------------------------------------- */

/* What a run as `d` says leaves for an average. */
static void *kept_run(const swin_model *m, swin_desc d, const swin_image *in)
{
    d.outputs = 0;
    d.kept = need(swin_kept_size(m, &d, NULL));
    const session s = start_as(m, d);
    if (swin_run(s.c, in) || swin_classes(s.c).data) report("a run that is kept", 0);
    free(s.memory);
    return d.kept;
}

static session average_of(const swin_model *m, const void *const *kept, int count,
                          unsigned outputs, int tasks)
{
    swin_desc d;
    memset(&d, 0, sizeof d);
    d.average = kept;
    d.average_count = count;
    d.outputs = outputs;
    d.tasks = tasks;
    d.parallel_for = reversed;
    const session s = start_as(m, d);
    if (swin_run(s.c, NULL)) report("an average runs without a picture", 0);
    return s;
}

static int same_map(swin_map a, swin_map b)
{
    return a.width == b.width && a.height == b.height && a.bytes == b.bytes
           && !memcmp(a.data, b.data, (size_t)(a.width * a.height * a.bytes));
}

/* Runs that are all the same are their own average, to the bit: whole, mirrored and sliding, for
   pictures smaller and larger than the input, of fewer and more than 256 classes; and the classes
   are the same whether or not confidence is asked for. */
static void test_average_of_one(void)
{
    static const struct { int model, w, h, picture_w, picture_h; unsigned flags; } cases[] = {
        {PSP_HEAD, 90, 97, 90, 97, 0}, {PSP_HEAD, 97, 50, 203, 31, 0},
        {PSP_HEAD, 120, 60, 33, 140, SWIN_RUN_FLIP}, {PSP_HEAD, 64, 64, 130, 5, SWIN_RUN_WHOLE},
        {GLAM_UPER, 37, 29, 150, 90, 0}, {WIDE_UPER, 60, 44, 70, 21, SWIN_RUN_FLIP},
        {UNET, 64, 64, 10, 200, 0}, {MLP_HEAD, 64, 32, 1, 1, 0}, {SEGFORMER, 61, 45, 150, 90, 0}
    };
    int ok = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const swin_model *m = &models[cases[i].model];
        const int w = cases[i].picture_w, h = cases[i].picture_h;
        unsigned char *rgb = make_rgb(w, h);
        const swin_image in = picture(rgb, w, h);
        swin_desc d = desc_of(cases[i].w, cases[i].h);
        d.picture_width = w;
        d.picture_height = h;
        d.flags = cases[i].flags;
        const void *const kept = kept_run(m, d, &in);
        const void *const twice[] = {kept, kept};
        d.outputs = SWIN_OUT_CLASSES | SWIN_OUT_CONFIDENCE_F32;
        const session plain = start_as(m, d), one = average_of(m, &kept, 1, d.outputs, 1);
        const session two = average_of(m, twice, 2, d.outputs, 7);
        const session bare = average_of(m, twice, 2, 0, 3);
        ok &= !swin_run(plain.c, &in);
        ok &= same_map(swin_classes(plain.c), swin_classes(one.c));
        ok &= same_map(swin_classes(plain.c), swin_classes(two.c));
        ok &= same_map(swin_classes(plain.c), swin_classes(bare.c));
        ok &= same_map(swin_confidence(plain.c), swin_confidence(one.c));
        ok &= same_map(swin_confidence(plain.c), swin_confidence(two.c));
        free(plain.memory);
        free(one.memory);
        free(two.memory);
        free(bare.memory);
        free((void *)(uintptr_t)kept);
        free(rgb);
    }
    report("a run is its own average", ok);
}

/* softmax[k] of pixel (y, x), in double */
static void softmax_at(swin_tensor logits, int y, int x, double *softmax)
{
    double top = -1e300, sum = 0;
    for (int k = 0; k < logits.channels; k++)
        if (element(logits, k, y, x) > top) top = element(logits, k, y, x);
    for (int k = 0; k < logits.channels; k++)
        sum += softmax[k] = exp(element(logits, k, y, x) - top);
    for (int k = 0; k < logits.channels; k++) softmax[k] /= sum;
}

/* A picture and its mirror image, under a sliding window, against the mean by hand. */
static void test_average_of_two(void)
{
    enum { W = 97, H = 70 };
    const swin_model *m = &models[PSP_HEAD];
    const int classes = m->config.classes;
    unsigned char *rgb = make_rgb(W, H);
    const swin_image in = picture(rgb, W, H);
    swin_desc d = desc_of(W, H);
    d.outputs = SWIN_OUT_LOGITS;
    const session plain = start_as(m, d);
    const void *kept[2] = {kept_run(m, d, &in), NULL};
    d.flags = SWIN_RUN_FLIP;
    const session flipped = start_as(m, d);
    kept[1] = kept_run(m, d, &in);
    const session mean = average_of(m, kept, 2, SWIN_OUT_CONFIDENCE_F32, 5);
    const session bare = average_of(m, kept, 2, 0, 2);
    const uint8_t *ids = (const uint8_t *)swin_classes(mean.c).data;
    const float *sure = (const float *)swin_confidence(mean.c).data;
    int ok = !swin_run(plain.c, &in) && !swin_run(flipped.c, &in), clear = 0, differ = 0;
    ok &= same_map(swin_classes(mean.c), swin_classes(bare.c));
    for (int i = 0; i < W * H; i++) {
        double a[256], b[256];
        int top = 0, second = -1, top_a = 0;
        softmax_at(swin_logits(plain.c), i / W, i % W, a);
        softmax_at(swin_logits(flipped.c), i / W, W - 1 - i % W, b);
        for (int k = 0; k < classes; k++) {
            if (a[k] > a[top_a]) top_a = k;
            b[k] = (a[k] + b[k]) / 2;
            if (b[k] > b[top]) second = top, top = k;
            else if (k != top && (second < 0 || b[k] > b[second])) second = k;
        }
        ok &= fabs(b[top] - (double)sure[i]) < 1e-5;
        if (b[top] - b[second] < 1e-5) continue;
        ok &= ids[i] == top;
        clear++;
        differ += top != top_a;
    }
    report("the mean softmax of two runs", ok && clear > W * H / 2 && differ > 0);
    free(plain.memory);
    free(flipped.memory);
    free(mean.memory);
    free(bare.memory);
    free((void *)(uintptr_t)kept[0]);
    free((void *)(uintptr_t)kept[1]);
    free(rgb);
}

/* What does not fit together is refused; what is kept grows with the input, not the picture. */
static void test_average_errors(void)
{
    const swin_model *m = &models[PSP_HEAD];
    unsigned char *rgb = make_rgb(40, 40);
    const swin_image in = picture(rgb, 30, 40), other = picture(rgb, 40, 30);
    const void *kept[2] = {kept_run(m, desc_of(30, 40), &in),
                           kept_run(m, desc_of(40, 30), &other)};
    swin_desc d = desc_of(30, 40), large = d;
    large.picture_width = large.picture_height = 4000;
    int ok = swin_kept_size(m, &d, NULL) == swin_kept_size(m, &large, NULL);
    memset(&d, 0, sizeof d);
    d.average = kept;
    ok &= refuses(m, d, SWIN_ARGUMENT);
    d.average_count = 2;
    ok &= refuses(m, d, SWIN_ARGUMENT);
    d.average_count = 1;
    ok &= refuses(&models[GLAM_UPER], d, SWIN_ARGUMENT);
    ok &= refuses(&models[PLAIN], d, SWIN_ARGUMENT);
    d.outputs = SWIN_OUT_LOGITS;
    ok &= refuses(m, d, SWIN_ARGUMENT);
    d.outputs = 0, d.picture_width = 30, d.picture_height = 40;
    ok &= !refuses(m, d, SWIN_ARGUMENT);
    d.picture_width = 31;
    ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(30, 40), d.average_count = 1;
    ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(30, 40);
    ok &= !swin_kept_size(&models[PLAIN], &d, NULL);
    report("averages that cannot be", ok);
    free((void *)(uintptr_t)kept[0]);
    free((void *)(uintptr_t)kept[1]);
    free(rgb);
}

/* Blocks of runs that never ended, and places in the middle of a float. */
static void test_unfinished_and_misaligned(void)
{
    const swin_model *m = &models[PSP_HEAD];
    unsigned char *rgb = make_rgb(30, 40);
    const swin_image in = picture(rgb, 30, 40);
    swin_desc d = desc_of(30, 40), mean;
    char *block = (char *)need(swin_kept_size(m, &d, NULL));
    const void *kept[1] = {block};
    d.kept = block;
    memset(&mean, 0, sizeof mean);
    mean.average = kept;
    mean.average_count = 1;
    const session one = start_as(m, d);
    int ok = refuses(m, mean, SWIN_ARGUMENT) && !swin_run(one.c, &in);
    const session average = start_as(m, mean);
    ok &= !swin_run(average.c, NULL) && !swin_begin(one.c, &in);
    ok &= refuses(m, mean, SWIN_ARGUMENT) && swin_run(average.c, NULL) == SWIN_ARGUMENT
          && strstr(swin_error_text(average.c), "run 0");
    swin_cancel(one.c);
    ok &= swin_step(one.c, 1) == SWIN_CANCELLED && refuses(m, mean, SWIN_ARGUMENT);
    ok &= !swin_run(one.c, &in) && !swin_run(average.c, NULL);
    report("an average of a run that is not finished", ok);

    kept[0] = block + 1;
    ok = refuses(m, mean, SWIN_ARGUMENT);
    d.kept = block + 2, ok &= refuses(m, d, SWIN_ARGUMENT);
    d.kept = NULL, d.votes = (float *)(void *)(block + 1), ok &= refuses(m, d, SWIN_ARGUMENT);
    report("blocks that are not aligned", ok);
    free(one.memory);
    free(average.memory);
    free(block);
    free(rgb);
}

static void test_descs(void)
{
    const swin_model *m = &models[GLAM_UPER];
    swin_desc d = desc_of(0, 0);
    int ok = refuses(m, d, SWIN_SIZE);
    d = desc_of(-1, 5), ok &= refuses(m, d, SWIN_SIZE);
    d = desc_of(5, 0), ok &= refuses(m, d, SWIN_SIZE);
    d = desc_of(SWIN_MAX_SIDE + 1, 5), ok &= refuses(m, d, SWIN_SIZE);
    d = desc_of(9000, 9000), ok &= refuses(m, d, SWIN_SIZE);
    d = desc_of(5, 5), d.picture_width = 5, ok &= refuses(m, d, SWIN_SIZE);
    d = desc_of(2000, 2000), ok &= refuses(m, d, SWIN_SIZE); /* beyond the positional table */
    d = desc_of(5, 5), d.outputs = 256, ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(5, 5), d.outputs = SWIN_OUT_SCORES, ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(5, 5), d.flags = 8, ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(5, 5), d.threshold = 1.5f, ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(5, 5), d.crop_width = -1, ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(9, 9), d.crop_width = d.crop_height = 4;
    d.stride_width = 5, ok &= refuses(m, d, SWIN_ARGUMENT);
    d.stride_width = d.stride_height = INT_MAX, ok &= refuses(m, d, SWIN_ARGUMENT);
    d.stride_width = d.stride_height = SWIN_MAX_SIDE, ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(5, 5), d.crop_width = INT_MAX, ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(5, 5), d.stride_height = INT_MIN, ok &= refuses(m, d, SWIN_ARGUMENT);
    d.stride_width = 2, d.outputs = SWIN_OUT_FEATURES, ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(5, 5), d.tasks = -1, ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(5, 5), d.outputs = SWIN_OUT_LOGITS, ok &= refuses(&models[PLAIN], d, SWIN_ARGUMENT);
    d = desc_of(5, 5), d.outputs = SWIN_OUT_SEGMENTS, ok &= refuses(m, d, SWIN_ARGUMENT);
    d = desc_of(40, 40), d.outputs = SWIN_OUT_SEGMENTS | SWIN_OUT_CLASSES;
    d.crop_width = 36, ok &= refuses(&models[ONEFORMER], d, SWIN_ARGUMENT);
    report("descs that make no sense", ok);

    swin_error e;
    swin_context *c;
    d = desc_of(5, 5);
    const size_t size = swin_workspace_size(m, &d, NULL);
    void *memory = need(size);
    ok = swin_init(&c, m, &d, NULL, size, &e) == SWIN_MEMORY && !c && strlen(e.text) > 10;
    d.cpu = swin_cpu_available(SWIN_CPU_NEON) ? SWIN_CPU_AVX2 : SWIN_CPU_NEON;
    ok &= swin_init(&c, m, &d, memory, size, &e) == SWIN_UNSUPPORTED && strlen(e.text) > 10;
    d.cpu = (swin_cpu)99;
    ok &= swin_init(&c, m, &d, memory, size, &e) == SWIN_UNSUPPORTED && !c;
    ok &= !swin_cpu_available((swin_cpu)99) && swin_cpu_available(SWIN_CPU_BEST);
    report("no memory, no such instruction set", ok);
    free(memory);

    swin_model closed;
    unsigned char damaged[64] = {0};
    ok = swin_open(&closed, damaged, sizeof damaged, 0, NULL) == SWIN_DAMAGED;
    d = desc_of(5, 5);
    ok &= refuses(&closed, d, SWIN_ARGUMENT) && refuses(NULL, d, SWIN_ARGUMENT);
    ok &= swin_workspace_size(m, NULL, &e) == 0 && e.status == SWIN_ARGUMENT;
    report("a model that did not open, no desc", ok);
}

/* Configs that are sound and sizes that are allowed, but what the network would count then is more
   than an int holds: refused by its name before anything is multiplied. */
static void test_counts(void)
{
    swin_config g = model_config(GLAM_UPER);
    swin_model m;
    g.patch = g.stages = g.stage[0].heads = 1;
    g.stage[0].depth = 2;
    g.stage[0].window_h = g.stage[0].window_w = 1;
    g.stage[0].shift_h = g.stage[0].shift_w = 0;
    g.tokens = 256;
    g.feature_norms = g.head.inputs = 1;
    blob b = make_blob(&g);
    int ok = swin_open(&m, b.bytes, b.size, 0, NULL) == SWIN_OK;
    report("windows times tokens", ok && refuses(&m, desc_of(10831, 1549), SWIN_SIZE)
                                   && refuses(&m, desc_of(8192, 8192), SWIN_SIZE));
    free(b.bytes);

    g = model_config(SEMANTIC_FPN);
    g.patch = 1;
    g.head.neck_convs[1] = g.head.neck_convs[2] = 8;
    b = make_blob(&g);
    ok = swin_open(&m, b.bytes, b.size, 0, NULL) == SWIN_OK;
    report("a level doubled again and again", ok && refuses(&m, desc_of(8192, 8192), SWIN_SIZE));
    free(b.bytes);
}

static int begin_fails(swin_context *c, const swin_image *in, swin_status status)
{
    return swin_begin(c, in) == status && strlen(swin_error_text(c)) > 10
           && swin_run(c, in) == status && swin_step(c, 1) == SWIN_ARGUMENT;
}

static void test_pictures(void)
{
    unsigned char *rgb = make_rgb(20, 10);
    const session s = start(&models[GLAM_UPER], desc_of(20, 10));
    const swin_image good = picture(rgb, 20, 10);
    swin_image in = good;
    int ok = swin_step(s.c, 1) == SWIN_ARGUMENT && begin_fails(s.c, NULL, SWIN_ARGUMENT);
    in.data = NULL, ok &= begin_fails(s.c, &in, SWIN_ARGUMENT);
    in = good, in.format = (swin_format)17, ok &= begin_fails(s.c, &in, SWIN_ARGUMENT);
    in = good, in.width = 10, ok &= begin_fails(s.c, &in, SWIN_SIZE);
    in = good, in.height = 20, ok &= begin_fails(s.c, &in, SWIN_SIZE);
    ok &= swin_begin(s.c, &good) == SWIN_OK && swin_step(s.c, 0) == SWIN_ARGUMENT;
    ok &= swin_step(s.c, 1 << 30) == SWIN_OK;
    report("pictures that do not fit", ok);

    static const ptrdiff_t strides[] = {1, 20, 59, -59, -1, PTRDIFF_MAX, PTRDIFF_MIN,
                                        PTRDIFF_MAX / 8};
    ok = 1;
    for (size_t i = 0; i < sizeof strides / sizeof *strides; i++)
        in = good, in.stride = strides[i], ok &= begin_fails(s.c, &in, SWIN_ARGUMENT);
    in = good, in.stride = 60, ok &= swin_begin(s.c, &in) == SWIN_OK;
    report("strides shorter than a row, or out of reach", ok);

    in.format = SWIN_PLANES;
    ok = 1;
    for (size_t i = 0; i < sizeof strides / sizeof *strides; i++) {
        in.stride = 0, in.plane_stride = strides[i], ok &= begin_fails(s.c, &in, SWIN_ARGUMENT);
        in.stride = strides[i], in.plane_stride = 0, ok &= begin_fails(s.c, &in, SWIN_ARGUMENT);
    }
    report("the same of planes", ok);
    free(s.memory);
    free(rgb);
}

static void test_status_texts(void)
{
    int ok = !strcmp(swin_status_text(SWIN_OK), "done");
    for (int i = -1; i <= SWIN_STATUS_COUNT; i++)
        ok &= strlen(swin_status_text((swin_status)i)) > 3;
    report("every status has a sentence", ok);
}

/* Names are those of the list, also of what is no instruction set; a context has what was asked. */
static void test_cpus(void)
{
    const swin_model *m = &models[FCN_HEAD];
    int ok = !strcmp(swin_cpu_name(SWIN_CPU_BEST), "best")
             && !strcmp(swin_cpu_name(SWIN_CPU_SCALAR), "scalar");
    for (int i = -1; i <= SWIN_CPU_COUNT; i++) {
        const int known = i >= 0 && i < SWIN_CPU_COUNT;
        ok &= strlen(swin_cpu_name((swin_cpu)i)) > 3;
        ok &= !strcmp(swin_cpu_name((swin_cpu)i), swin_cpu_name((swin_cpu)-1)) == !known;
        for (int j = 0; known && j < i; j++)
            ok &= !!strcmp(swin_cpu_name((swin_cpu)i), swin_cpu_name((swin_cpu)j));
    }
    report("every instruction set has a name of its own", ok);
    ok = 1;
    for (int i = 0; i < SWIN_CPU_COUNT; i++) {
        swin_desc d = desc_of(12, 9);
        d.cpu = (swin_cpu)i;
        if (!swin_cpu_available(d.cpu)) continue;
        const session s = start(m, d);
        const int used = (int)swin_cpu_used(s.c);
        ok &= i == SWIN_CPU_BEST ? used > i && swin_cpu_available((swin_cpu)used) : used == i;
        for (int j = used + 1; i == SWIN_CPU_BEST && j < SWIN_CPU_COUNT; j++)
            ok &= !swin_cpu_available((swin_cpu)j) || j == SWIN_CPU_AVX512_AMX;
        free(s.memory);
    }
    report("a context has the instruction set asked for, or the last there is", ok);
    ok = !swin_cpu_exact((swin_cpu)99) && !swin_cpu_exact((swin_cpu)-1);
    for (int i = 0; i < SWIN_CPU_COUNT; i++)
        ok &= swin_cpu_exact((swin_cpu)i) == swin_cpu_available((swin_cpu)i);
    report("every instruction set that is there is exact", ok);
}

/* --- results and plan ------------------------------------------------------------------------- */

static void test_results(void)
{
    unsigned char *rgb = make_rgb(26, 18);
    const swin_image in = picture(rgb, 26, 18);
    const session s = start(&models[WIDE_UPER], desc_of(26, 18));
    int ok = swin_run(s.c, &in) == SWIN_OK;
    const swin_map map = swin_classes(s.c);
    const swin_tensor logits = swin_logits(s.c), top = swin_feature(s.c, 2);
    ok &= map.bytes == 2 && map.width == 26 && map.height == 18;
    ok &= logits.channels == 300 && logits.width == 7 && logits.height == 5;
    ok &= top.channels == 128 && top.width == 2 && top.height == 2;
    ok &= !swin_feature(s.c, 3).data && !swin_feature(s.c, -1).data && !swin_feature(s.c, 4).data;
    report("shapes of results", ok);
    free(s.memory);

    swin_desc d = desc_of(26, 18);
    ok = 1;
    for (unsigned outputs = 1; outputs < 8; outputs++) {
        swin_context *c;
        d.outputs = outputs;
        const size_t size = swin_workspace_size(&models[FCN_HEAD], &d, NULL);
        void *memory = need(size);
        ok &= swin_init(&c, &models[FCN_HEAD], &d, memory, size, NULL) == SWIN_OK;
        ok &= swin_run(c, &in) == SWIN_OK;
        ok &= !swin_classes(c).data == !(outputs & SWIN_OUT_CLASSES);
        ok &= !swin_logits(c).data == !(outputs & SWIN_OUT_LOGITS);
        ok &= !swin_feature(c, 1).data == !(outputs & SWIN_OUT_FEATURES);
        free(memory);
    }
    report("only the outputs asked for", ok);
    ok = 1;
    for (unsigned outputs = 1; outputs < 4; outputs++) {
        swin_context *c;
        int count;
        d.outputs = SWIN_OUT_SEGMENTS | (outputs & 1 ? SWIN_OUT_CLASSES : 0) |
                    (outputs & 2 ? SWIN_OUT_LOGITS : 0);
        const session s1 = start_as(&models[MASKFORMER], d);
        c = s1.c;
        ok &= !swin_segments(c, &count) && !count && !swin_segment_map(c).data;
        ok &= swin_run(c, &in) == SWIN_OK;
        ok &= swin_segments(c, &count) && swin_segment_map(c).data;
        ok &= !swin_classes(c).data == !(outputs & 1) && !swin_logits(c).data == !(outputs & 2);
        ok &= swin_segment_map(c).bytes == 2 && swin_segment_map(c).width == 26;
        free(s1.memory);
    }
    report("segments beside other outputs, once a run has ended", ok);
    free(rgb);
}

/* Formulas against counting and searching, for every small shape. */
static void test_geometry(void)
{
    int ok = 1;
    for (int length = 1; length < 30; length++)
        for (int side = 1; side <= length; side++)
            for (int stride = 1; stride <= side; stride++) {
                const int n = (length - side + stride - 1) / stride + 1;
                for (int at = 0; at < length; at++) {
                    int over = 0;
                    for (int i = 0; i < n; i++) {
                        const int start = i * stride < length - side ? i * stride : length - side;
                        over += start <= at && at < start + side;
                    }
                    ok &= over == swin__crops_over(n, stride, side, length, at);
                }
            }
    report("crops over a pixel", ok);

    ok = 1;
    for (int shape = 0; shape < 2 * 9 * 9 * 5 * 5; shape++) {
        swin__grid g = {shape / 2 % 9 + 1, shape / 18 % 9 + 1, shape / 162 % 5 + 1,
                        shape / 810 + 1, 0, 0, 0, 0, shape % 2};
        const int shifts = g.window_h * g.window_w;
        g.rows = (g.h + g.window_h - 1) / g.window_h;
        g.cols = (g.w + g.window_w - 1) / g.window_w;
        for (int i = 0; i < shifts * g.h * g.w; i++) {
            const int pixel = i / shifts, y = pixel / g.w, x = pixel % g.w;
            g.shift_h = i % shifts / g.window_w;
            g.shift_w = i % shifts % g.window_w;
            const int row = swin__in_windows(&g, y, g.shift_h, g.h, g.rows * g.window_h);
            const int column = swin__in_windows(&g, x, g.shift_w, g.w, g.cols * g.window_w);
            const swin__window w = swin__window_of(&g, row / g.window_h * g.cols
                                                           + column / g.window_w);
            ok &= swin__window_pixel(&w, row % g.window_h, column % g.window_w) == pixel;
        }
    }
    report("pixels in shifted windows", ok);
}

static int no_results(const swin_context *c)
{
    int ok = !swin_classes(c).data && !swin_confidence(c).data && !swin_logits(c).data &&
             !swin_scores(c).data && !swin_attention(c).data;
    for (int i = -1; i < 6; i++) ok &= !swin_feature(c, i).data;
    return ok;
}

/* Before a run, while it goes on, after one that was cancelled or refused. */
static void test_results_in_time(void)
{
    static const int which[] = {GLAM_UPER, SWIN_V2, UNET, PSP_HEAD};
    unsigned char *rgb = make_rgb(70, 50);
    int ok = 1;
    for (size_t i = 0; i < sizeof which / sizeof *which; i++) {
        const session s = start(&models[which[i]], desc_of(70, 50));
        const swin_image in = picture(rgb, 70, 50);
        ok &= no_results(s.c) && swin_run(s.c, &in) == SWIN_OK && !no_results(s.c);
        ok &= swin_begin(s.c, &in) == SWIN_OK && no_results(s.c);
        ok &= swin_step(s.c, 1) == SWIN_MORE && no_results(s.c);
        swin_cancel(s.c);
        ok &= swin_step(s.c, 1) == SWIN_CANCELLED && no_results(s.c);
        swin_cancel(s.c);       /* before the begin: forgotten */
        ok &= swin_run(s.c, &in) == SWIN_OK && !no_results(s.c);
        ok &= swin_begin(s.c, NULL) == SWIN_ARGUMENT && no_results(s.c);
        free(s.memory);
    }
    report("results are there from the end of a run to the next begin", ok);
    free(rgb);
}

/* Also at a stage that no head reads. */
static void test_attention(void)
{
    swin_config g = model_config(GLAM_UPER);
    g.head.inputs = 1;
    const blob b = make_blob(&g);
    swin_model m;
    unsigned char *rgb = make_rgb(70, 50);
    const swin_image in = picture(rgb, 70, 50);
    int ok = swin_open(&m, b.bytes, b.size, 0, NULL) == SWIN_OK;
    for (int stage = 0; stage < 3; stage += 2) {
        swin_desc d = desc_of(70, 50);
        d.outputs = SWIN_OUT_ATTENTION;
        d.attend_stage = stage;
        d.attend_x = 69;
        d.attend_y = 49;
        const session s = start_as(&m, d);
        double sum = 0;
        ok &= swin_run(s.c, &in) == SWIN_OK;
        const swin_tensor map = swin_attention(s.c);
        ok &= map.data && map.channels == 1;
        ok &= map.width == (70 + (4 << stage) - 1) / (4 << stage);
        ok &= map.height == (50 + (4 << stage) - 1) / (4 << stage);
        for (int y = 0; map.data && y < map.height; y++)
            for (int x = 0; x < map.width; x++) {
                ok &= element(map, 0, y, x) >= 0;
                sum += (double)element(map, 0, y, x);
            }
        ok &= sum > 0 && sum <= 1.0001;     /* shares of shares */
        free(s.memory);
    }
    report("attention through tokens, at any stage", ok);
    free(rgb);
    free(b.bytes);
}

/* A run of one unit at a time takes as many of them, and as many multiply-adds, as the plan says:
   first the steps that are taken `crops` times, then those that are taken `rows` times. */
static int plan_holds(const session s, const swin_image *in, int crops, int rows)
{
    swin_step_info info;
    double madds = 0;
    long units = 0, taken = 0;
    int n = 0, of_rows = 0, ok = !swin_plan_step(s.c, -1, &info);
    for (; swin_plan_step(s.c, n, &info); n++) {
        of_rows |= n && info.repeats == rows;
        ok &= info.units > 0 && info.madds >= 0 && info.stage >= -1 && info.name[0];
        ok &= info.repeats == (of_rows ? rows : crops);
        units += (long)info.units * info.repeats;
        madds += info.madds * info.repeats;
    }
    ok &= of_rows && !swin_plan_step(s.c, n, &info);
    swin_status status = swin_begin(s.c, in);
    if (status == SWIN_OK) status = SWIN_MORE;
    for (; status == SWIN_MORE; taken++) status = swin_step(s.c, 1);
    ok &= status == SWIN_OK && taken == units && fabs(s.c->done - madds) <= 1e-6 * madds;
    if (!ok)
        printf("%d crops in %d rows: %ld units taken, %ld planned; %g multiply-adds, %g planned\n",
               crops, rows, taken, units, s.c->done, madds);
    return ok;
}

static void test_plan(void)
{
    static const struct { int model, w, h; unsigned flags; int crops, rows; } cases[] = {
        {WIDE_UPER, 70, 66, 0, 1, 1}, {SWIN_V2, 31, 40, 0, 1, 1}, {PLAIN, 9, 5, 0, 1, 1},
        {PSP_HEAD, 90, 97, 0, 24, 6}, {PSP_HEAD, 30, 60, 0, 4, 4}, {PSP_HEAD, 90, 20, 0, 4, 1},
        {PSP_HEAD, 90, 97, SWIN_RUN_WHOLE, 1, 1}};
    int ok = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int w = cases[i].w, h = cases[i].h;
        unsigned char *rgb = make_rgb(w, h);
        const swin_image in = picture(rgb, w, h);
        swin_desc d = desc_of(w, h);
        d.flags = cases[i].flags;
        const session s = start(&models[cases[i].model], d);
        ok &= plan_holds(s, &in, cases[i].crops, cases[i].rows);
        free(s.memory);
        free(rgb);
    }
    report("a plan tells what a run takes", ok);
}

static void test_names(void)
{
    const swin_model *m = &models[FCN_HEAD];
    report("names, colours and notes",
           !strcmp(swin_class_name(m, 0), "class 0") && !strcmp(swin_class_name(m, 18), "class 18")
               && !swin_class_name(m, 19) && !swin_class_name(m, -1)
               && swin_class_color(m, 18) == 16 * 18 && swin_class_color(m, 19) == 0
               && !strcmp(swin_note(m, "name"), "Übung") && !swin_note(m, "licence")
               && !swin_note(m, NULL));
}

/* --- the easy tier ---------------------------------------------------------------------------- */

static void save(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, size, f) != size || fclose(f)) exit(2);
}

static int fails_to_load(const char *path, swin_status status)
{
    swin_error e = {SWIN_OK, ""};
    const int ok = !swin_load(path, &e) && e.status == status && strlen(e.text) > 10
                   && !swin_load(path, NULL);
    if (!ok) printf("%s: %s\n", swin_status_text(e.status), e.text);
    return ok && (status != SWIN_FILE || strstr(e.text, path));
}

static int segments(swin_model *m, int w, int h)
{
    unsigned char *rgb = make_rgb(w, h), *ids = (unsigned char *)need((size_t)(w * h));
    const swin_image in = picture(rgb, w, h);
    const session s = start(m, desc_of(w, h));
    const int ok = swin_segment(m, rgb, w, h, ids, NULL) == SWIN_OK
                   && swin_run(s.c, &in) == SWIN_OK
                   && !memcmp(ids, swin_classes(s.c).data, (size_t)(w * h));
    free(s.memory);
    free(rgb);
    free(ids);
    return ok;
}

/* Loads a model and segments pictures of several sizes while the allocator fails at every call in
   turn; a model that was loaded goes on when there is memory again. */
static int runs_out_of_memory(const char *path)
{
    static const int sizes[][2] = {{5, 5}, {3, 7}, {3, 7}, {5, 5}};
    unsigned char rgb[75] = {0}, ids[25];
    int ok = 1, nth = 0, made;
    do {
        swin_error e;
        int before = 0;
        allocations = 0;
        failing = ++nth;
        swin_model *m = swin_load(path, &e);
        swin_status status = m ? SWIN_OK : e.status;
        for (int i = 0; i < 4 && status == SWIN_OK; i++) {
            status = swin_segment(m, rgb, sizes[i][0], sizes[i][1], ids, &e);
            if (status == SWIN_OK) before = i;
        }
        made = allocations;
        failing = 0;
        ok &= made < nth ? status == SWIN_OK
                         : status == SWIN_MEMORY && !strncmp(e.text, "no memory", 9);
        ok &= !m || segments(m, sizes[before][0], sizes[before][1]);
        swin_free(m);
    } while (made >= nth);
    return ok && nth > 6;       /* file, model, its easy part, three workspaces */
}

/* The status of a picture that a model has no classes for, with a place for the reason and without.
   */
static int refuses_classes(const char *path, swin_status status)
{
    unsigned char rgb[75] = {0}, ids[25];
    swin_error e = {SWIN_OK, ""};
    swin_model *m = swin_load(path, NULL);
    const int ok = m && swin_segment(m, rgb, 5, 5, ids, &e) == status && e.status == status
                   && swin_segment(m, rgb, 5, 5, ids, NULL) == status;
    swin_free(m);
    return ok;
}

static void test_easy(const char *program)
{
    const blob b = blobs[GLAM_UPER];
    unsigned char rgb[75] = {0}, ids[25];
    char path[1024];
    swin_error e;
    snprintf(path, sizeof path, "%s.swin", program);
    save(path, b.bytes, b.size);
    swin_model *m = swin_load(path, &e);
    if (!m) printf("%s\n", e.text);
    report("load and segment", m && segments(m, 20, 30) && segments(m, 20, 30)
                               && segments(m, 31, 7) && segments(m, 1, 1) && segments(m, 20, 30));
    report("easy errors", swin_segment(m, rgb, 0, 5, ids, &e) == SWIN_SIZE
                          && swin_segment(m, NULL, 5, 5, ids, &e) == SWIN_ARGUMENT
                          && swin_segment(&models[PLAIN], rgb, 5, 5, ids, &e) == SWIN_ARGUMENT
                          && swin_segment(NULL, rgb, 5, 5, ids, &e) == SWIN_ARGUMENT
                          && strlen(e.text) > 10 && segments(m, 5, 5));
    swin_free(m);
    swin_free(NULL);
    report("all is freed", handed_out == 0);

    report("memory runs out", runs_out_of_memory(path) && handed_out == 0);

    save(path, blobs[SWIN_V2].bytes, blobs[SWIN_V2].size);
    report("a classifier gives no class map", refuses_classes(path, SWIN_ARGUMENT));

    int ok = fails_to_load("no such file.swin", SWIN_FILE) && fails_to_load("/", SWIN_FILE);
    report("a missing file, a directory", ok);
    save(path, b.bytes, 0);
    ok = fails_to_load(path, SWIN_DAMAGED);
    save(path, b.bytes, b.size - 1);
    ok &= fails_to_load(path, SWIN_DAMAGED);
    b.bytes[b.size - 9] ^= 1;
    save(path, b.bytes, b.size);
    b.bytes[b.size - 9] ^= 1;
    report("damaged files", ok && fails_to_load(path, SWIN_DAMAGED) && handed_out == 0);
    remove(path);
}

int main(int argc, char **argv)
{
    (void)argc;
    for (int i = 0; i < MODELS; i++) {
        swin_error e;
        blobs[i] = model_blob(i);
        if (swin_open(&models[i], blobs[i].bytes, blobs[i].size, SWIN_VERIFY, &e)) {
            printf("%s\n", e.text);
            return 1;
        }
    }
    test_status_texts();
    test_cpus();
    test_names();
    test_descs();
    test_model_sizes();
    test_counts();
    test_input_sizes();
    test_pictures();
    test_results();
    test_results_in_time();
    test_geometry();
    test_attention();
    test_plan();
    test_workspace();
    test_blob_addresses();
    test_memory_limit();
    test_flush_to_zero();
    test_picture_bounds();
    test_formats();
    test_planes();
    test_resizing();
    test_direct();
    test_sliding_window();
    test_flip();
    test_confidence();
    test_average_of_one();
    test_average_of_two();
    test_average_errors();
    test_unfinished_and_misaligned();
    test_centre_crop();
    test_cancel();
    test_two_contexts();
    test_again();
    test_same_bits();
    test_many_windows();
#ifdef SWIN_DEBUG
    test_debug();
    test_host();
#endif
    report("the core never allocates", allocations == 0);
    test_easy(argv[0]);
    for (int i = 0; i < MODELS; i++) free(blobs[i].bytes);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
