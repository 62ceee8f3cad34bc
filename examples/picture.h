/* picture.h - how the example programs read and write pictures; common.h includes it

   A picture comes from a stranger: it may be cut, damaged or made to harm. What stb_image (Debian:
   libstb-dev) makes of such a file depends on its version. So the containers are read here, by
   their own specifications, and a file is proved whole before any pixel of it is believed; of
   stb_image remain its inflate, whose result a checksum proves, and its JPEG decoder, which gets a
   copy that holds nothing but what was checked. stb_image_write compresses what is written. */
#ifndef PICTURE_H
#define PICTURE_H

#include <stdarg.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#define STBI_SUPPORT_ZLIB
#define STBI_MAX_DIMENSIONS SWIN_MAX_SIDE
#include <stb/stb_image.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>

typedef struct picture {
    unsigned char *rgb;         /* 3 bytes a pixel, rows follow each other; free() it */
    int width, height;
} picture;

/* Writes the sentence that says why a picture is refused; always 0. What it quotes of the file gets
   to no terminal but as letters. */
static inline int picture_fail(char why[256], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, 256, format, arguments);
    va_end(arguments);
    for (; *why; why++)
        if (*why < ' ' || *why > '~') *why = '?';
    return 0;
}

#ifdef __clang_analyzer__ /* which does not look into a function of variable arguments */
#define picture_fail(...) (picture_fail(__VA_ARGS__), 0)
#endif

static inline int picture_cut(char why[256]) { return picture_fail(why, "the file is cut short"); }

/* Takes the size that a file's header declares, before anything is allocated for it. */
static inline int picture_sized(picture *p, uint32_t width, uint32_t height, char why[256])
{
    if (!width || !height)
        return picture_fail(why, "a picture of %ux%u, without any pixel", (unsigned)width,
                            (unsigned)height);
    if (width > SWIN_MAX_SIDE || height > SWIN_MAX_SIDE || height > SWIN_MAX_PIXELS / width)
        return picture_fail(why, "its %ux%u are more than %d pixels a side or %d in all",
                            (unsigned)width, (unsigned)height, SWIN_MAX_SIDE, SWIN_MAX_PIXELS);
    p->width = (int)width;
    p->height = (int)height;
    return 1;
}

static inline int picture_new(picture *p, char why[256])
{
    p->rgb = (unsigned char *)malloc((size_t)p->width * (size_t)p->height * 3);
    if (p->rgb) return 1;
    return picture_fail(why, "no memory for %dx%d pixels", p->width, p->height);
}

/* The number in the first bytes of `d`, at most 4 of them. */
static inline uint32_t big_endian(const unsigned char *d, int bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | d[i];
    return value;
}

static inline uint32_t little_endian(const unsigned char *d, int bytes)
{
    uint32_t value = 0;
    while (bytes--) value = value << 8 | d[bytes];
    return value;
}

/* -------------------------------------------------------------------------- */
/* EXIF: the orientation of a picture                                         */

/* The orientation, 1 to 8, that the first directory (IFD0) of EXIF's TIFF structure gives; 1,
   upright, where it gives none. The second directory is about the thumbnail. */
static inline int exif_orientation(const unsigned char *tiff, size_t size)
{
    enum { ORIENTATION = 0x112, SHORT = 3, LONG = 4, ENTRY = 12 };
    if (size < 8 || (memcmp(tiff, "II*\0", 4) && memcmp(tiff, "MM\0*", 4))) return 1;
    uint32_t (*get)(const unsigned char *, int) = *tiff == 'I' ? little_endian : big_endian;
    size_t at = get(tiff + 4, 4);
    if (at > size || size - at < 2) return 1;
    uint32_t entries = get(tiff + at, 2);
    for (at += 2; entries && size - at >= ENTRY; entries--, at += ENTRY) {
        const unsigned char *entry = tiff + at;
        if (get(entry, 2) != ORIENTATION) continue;
        uint32_t type = get(entry + 2, 2), count = get(entry + 4, 4);
        uint32_t value = get(entry + 8, type == LONG ? 4 : 2);      /* some phones write a LONG */
        int good = (type == SHORT || type == LONG) && count == 1 && value >= 1 && value <= 8;
        return good ? (int)value : 1;
    }
    return 1;
}

/* Turns and mirrors a picture upright, as its orientation asks; 0: no memory. */
static inline int picture_turn(picture *p, int orientation)
{
    int transpose = orientation >= 5, w = p->width, h = p->height;
    int from_right = orientation == 2 || orientation == 3 || orientation >= 7;
    int from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    unsigned char *rgb = (unsigned char *)malloc((size_t)w * (size_t)h * 3);
    if (!rgb) return 0;
    p->width = transpose ? h : w;
    p->height = transpose ? w : h;
    unsigned char *out = rgb;
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++, out += 3) {
            int column = transpose ? y : x, row = transpose ? x : y;
            if (from_right) column = w - 1 - column;
            if (from_bottom) row = h - 1 - row;
            memcpy(out, p->rgb + 3 * ((size_t)row * (size_t)w + (size_t)column), 3);
        }
    free(p->rgb);
    p->rgb = rgb;
    return 1;
}

/* -------------------------------------------------------------------------- */
/* PNG (ISO 15948): chunks with checksums, then filtered rows in a zlib stream */

enum { PNG_GREY = 0, PNG_RGB = 2, PNG_PALETTE = 3, PNG_GREY_ALPHA = 4, PNG_RGB_ALPHA = 6 };

typedef struct png_reader {
    uint32_t width, height;         /* 0 before the header */
    int depth, colour, channels;    /* bits of a sample; one of PNG_...; samples of a pixel */
    int interlaced;
    const unsigned char *palette;   /* 3 bytes a colour */
    unsigned colours;
    unsigned char *data;            /* of the IDAT chunks */
    size_t size;
    int data_begun, data_ended;
    int orientation;
} png_reader;

typedef struct png_chunk {
    char name[5];
    const unsigned char *data;
    uint32_t length;
} png_chunk;

/* CRC-32 of a chunk's type and data, four bits at a time. */
static inline uint32_t png_crc(const unsigned char *data, size_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158,
        0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4,
        0xa00ae278, 0xbdbdf21c
    };
    uint32_t crc = 0xffffffffu;
    while (size--) {
        crc ^= *data++;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* The checksum at the end of a zlib stream, of what was compressed. */
static inline uint32_t png_adler(const unsigned char *data, size_t size)
{
    enum { MODULUS = 65521, MANY = 5552 };  /* so many bytes cannot overflow the sums */
    uint32_t a = 1, b = 0;
    while (size) {
        size_t n = size < MANY ? size : MANY;
        for (size -= n; n; n--) b += a += *data++;
        a %= MODULUS;
        b %= MODULUS;
    }
    return b << 16 | a;
}

/* Takes the chunk at *at and moves *at behind it. */
static inline int png_next(png_chunk *c, const unsigned char *file, size_t size, size_t *at,
                           char why[256])
{
    const unsigned char *d = file + *at;
    if (size - *at < 12) return picture_cut(why);
    c->length = big_endian(d, 4);
    for (int i = 0; i < 4; i++) {
        c->name[i] = (char)d[4 + i];
        if ((d[4 + i] | 32) < 'a' || (d[4 + i] | 32) > 'z')
            return picture_fail(why, "damaged: no chunk begins at byte %zu", *at);
    }
    c->name[4] = 0;
    if (c->length > 0x7fffffff)
        return picture_fail(why, "damaged: the length of its %s chunk", c->name);
    if (c->length > size - *at - 12) return picture_cut(why);
    c->data = d + 8;
    if (png_crc(d + 4, c->length + (size_t)4) != big_endian(c->data + c->length, 4))
        return picture_fail(why, "damaged: the checksum of its %s chunk differs", c->name);
    *at += c->length + (size_t)12;
    return 1;
}

static inline int png_header(png_reader *p, const png_chunk *c, char why[256])
{
    static const int channels[] = {1, 0, 3, 1, 2, 0, 4};
    static const int depths[] = {31, 0, 24, 15, 24, 0, 24};     /* sums of those allowed */
    if (c->length != 13) return picture_fail(why, "damaged: its IHDR chunk has %u bytes",
                                             (unsigned)c->length);
    int depth = c->data[8], colour = c->data[9];
    if (colour > PNG_RGB_ALPHA || !channels[colour] || !depth || depth & (depth - 1)
        || !(depths[colour] & depth))
        return picture_fail(why, "no PNG has %d bits of colour type %d", depth, colour);
    if (c->data[10] || c->data[11] || c->data[12] > 1)
        return picture_fail(why, "a PNG of unknown compression %d, filter %d or interlace %d",
                            c->data[10], c->data[11], c->data[12]);
    p->depth = depth;
    p->colour = colour;
    p->channels = channels[colour];
    p->interlaced = c->data[12];
    p->width = big_endian(c->data, 4);
    p->height = big_endian(c->data + 4, 4);
    return 1;
}

static inline int png_palette(png_reader *p, const png_chunk *c, char why[256])
{
    if (p->data_begun || p->palette)
        return picture_fail(why, "damaged: a PLTE chunk after the one or after the data");
    if (!c->length || c->length % 3 || c->length > 768)
        return picture_fail(why, "damaged: its PLTE chunk has %u bytes", (unsigned)c->length);
    p->palette = c->data;
    p->colours = c->length / 3;
    return 1;
}

/* One chunk after the header. Animations (APNG) keep their first picture where others have their
   only one, and what is ancillary may be passed over. */
static inline int png_take(png_reader *p, const png_chunk *c, char why[256])
{
    int is_data = !strcmp(c->name, "IDAT");
    if (!is_data && p->data_begun) p->data_ended = 1;
    if (is_data) {
        if (p->data_ended)
            return picture_fail(why, "damaged: its IDAT chunks do not follow each other");
        p->data_begun = 1;
        memcpy(p->data + p->size, c->data, c->length);
        p->size += c->length;
    } else if (!strcmp(c->name, "PLTE")) {
        return png_palette(p, c, why);
    } else if (!strcmp(c->name, "eXIf")) {
        size_t name = c->length >= 6 && !memcmp(c->data, "Exif\0", 6) ? 6 : 0;     /* as in JPEG */
        p->orientation = exif_orientation(c->data + name, c->length - name);
    } else if (!(c->name[0] & 32)) {
        return picture_fail(why, "damaged: a PNG has no %s chunk there", c->name);
    }
    return 1;
}

/* Reads all chunks; p->data has room for the whole file. */
static inline int png_chunks(png_reader *p, picture *out, const unsigned char *d, size_t size,
                             char why[256])
{
    png_chunk c;
    size_t at = 8;
    if (!png_next(&c, d, size, &at, why)) return 0;
    if (!strcmp(c.name, "CgBI"))
        return picture_fail(why, "Apple's own kind of PNG (CgBI): save it as PNG again");
    if (strcmp(c.name, "IHDR")) return picture_fail(why, "damaged: its first chunk is %s", c.name);
    if (!png_header(p, &c, why) || !picture_sized(out, p->width, p->height, why)) return 0;
    while (png_next(&c, d, size, &at, why)) {
        if (strcmp(c.name, "IEND")) {
            if (!png_take(p, &c, why)) return 0;
            continue;
        }
        if (!p->data_begun) return picture_fail(why, "damaged: it has no IDAT chunk");
        if (p->colour == PNG_PALETTE && !p->palette)
            return picture_fail(why, "damaged: it has no palette (PLTE chunk)");
        return 1;
    }
    return 0;
}

/* Where the pixels of a pass lie: pass 0 of a picture as it is, 1 to 7 of an interlaced one. */
typedef struct png_pass {
    int x, y, dx, dy;
    uint32_t width, height;         /* pixels, may be 0 */
    size_t bytes;                   /* of a row without the byte that names its filter */
} png_pass;

/* Fills in pass `i`, and gives the next one or -1 after the last. */
static inline int png_pass_at(const png_reader *p, int i, png_pass *pass)
{
    static const png_pass passes[8] = {
        {0, 0, 1, 1, 0, 0, 0}, {0, 0, 8, 8, 0, 0, 0}, {4, 0, 8, 8, 0, 0, 0}, {0, 4, 4, 8, 0, 0, 0},
        {2, 0, 4, 4, 0, 0, 0}, {0, 2, 2, 4, 0, 0, 0}, {1, 0, 2, 2, 0, 0, 0}, {0, 1, 1, 2, 0, 0, 0}
    };
    *pass = passes[i];
    pass->width = (uint32_t)(((int)p->width - pass->x + pass->dx - 1) / pass->dx);
    pass->height = (uint32_t)(((int)p->height - pass->y + pass->dy - 1) / pass->dy);
    pass->bytes = ((size_t)pass->width * (size_t)(p->depth * p->channels) + 7) / 8;
    if (!pass->width) pass->height = 0;
    return i == 0 || i == 7 ? -1 : i + 1;
}

/* Undoes the filter that the byte before the row names. `above`: the row before it, or NULL;
   `pixel`: the distance of a byte from that of the pixel on its left. */
static inline int png_unfilter(unsigned char *row, const unsigned char *above, size_t bytes,
                               size_t pixel)
{
    enum { NONE, SUB, UP, AVERAGE, PAETH };
    int kind = row[-1];
    for (size_t i = 0; i < bytes && kind; i++) {
        int left = i >= pixel ? row[i - pixel] : 0, up = above ? above[i] : 0, guess = left;
        int corner = above && i >= pixel ? above[i - pixel] : 0;
        if (kind == UP) guess = up;
        if (kind == AVERAGE) guess = (left + up) / 2;
        if (kind == PAETH) {
            int a = abs(up - corner), b = abs(left - corner), c = abs(left + up - 2 * corner);
            guess = a <= b && a <= c ? left : b <= c ? up : corner;
        }
        row[i] = (unsigned char)(row[i] + guess);
    }
    return kind <= PAETH;
}

/* Sample i of a row, of 16 bits the upper 8. */
static inline unsigned png_sample(const unsigned char *row, size_t i, int depth)
{
    if (depth >= 8) return row[i * (size_t)(depth / 8)];
    size_t bit = i * (size_t)depth;
    return row[bit / 8] >> (8 - depth - (int)(bit % 8)) & ((1u << depth) - 1);
}

static inline int png_pixel(const png_reader *p, const unsigned char *row, size_t x,
                            unsigned char *rgb, char why[256])
{
    size_t first = x * (size_t)p->channels;
    unsigned value = png_sample(row, first, p->depth);
    if (p->colour == PNG_PALETTE) {
        if (value >= p->colours)
            return picture_fail(why, "damaged: a pixel of colour %u, though its palette has %u",
                                value, p->colours);
        memcpy(rgb, p->palette + 3 * value, 3);
    } else if (p->channels < 3) {
        if (p->depth < 8) value *= 255u / ((1u << p->depth) - 1);
        memset(rgb, (int)value, 3);
    } else {
        for (size_t c = 0; c < 3; c++)
            rgb[c] = (unsigned char)png_sample(row, first + c, p->depth);
    }
    return 1;
}

/* The pixels of the inflated rows. */
static inline int png_rows(const png_reader *p, unsigned char *rows, picture *out, char why[256])
{
    size_t pixel = (size_t)(p->depth * p->channels + 7) / 8;
    for (int i = p->interlaced; i >= 0;) {
        png_pass pass;
        const unsigned char *above = NULL;
        i = png_pass_at(p, i, &pass);
        for (uint32_t y = 0; y < pass.height; y++) {
            unsigned char *row = rows + 1;
            if (!png_unfilter(row, above, pass.bytes, pixel))
                return picture_fail(why, "damaged: a row has no known filter");
            unsigned char *to = out->rgb + 3 * ((size_t)pass.x + ((size_t)pass.y
                                + (size_t)y * (size_t)pass.dy) * p->width);
            for (uint32_t x = 0; x < pass.width; x++, to += 3 * pass.dx)
                if (!png_pixel(p, row, x, to, why)) return 0;
            above = row;
            rows += 1 + pass.bytes;
        }
    }
    return 1;
}

/* Bytes of all rows, each with the byte that names its filter. */
static inline size_t png_rows_size(const png_reader *p)
{
    size_t size = 0;
    for (int i = p->interlaced; i >= 0;) {
        png_pass pass;
        i = png_pass_at(p, i, &pass);
        size += pass.height * (1 + pass.bytes);
    }
    return size;
}

/* The inflated rows, to be freed; NULL with a sentence. The data must fill them exactly, and the
   checksum at its end be theirs. */
static inline unsigned char *png_inflate(const png_reader *p, char why[256])
{
    enum { DEFLATE_MOST = 1032 };   /* no byte of deflate makes more bytes */
    size_t size = png_rows_size(p);
    if (size / DEFLATE_MOST > p->size || p->size < 6)
        return picture_fail(why, "damaged: its data is too short for its pixels"), NULL;
    unsigned char *rows = (unsigned char *)calloc(size, 1);
    if (!rows)
        return picture_fail(why, "no memory for %ux%u pixels", (unsigned)p->width,
                            (unsigned)p->height), NULL;
    int got = stbi_zlib_decode_buffer((char *)rows, (int)size, (const char *)p->data,
                                      (int)p->size);
    if (got < 0)
        picture_fail(why, "damaged: its data cannot be inflated (%s)", stbi_failure_reason());
    else if ((size_t)got < size)
        picture_fail(why, "damaged: its data ends before its last row");
    else if (png_adler(rows, size) != big_endian(p->data + p->size - 4, 4))
        picture_fail(why, "damaged: the checksum of its pixels differs");
    else
        return rows;
    free(rows);
    return NULL;
}

static inline int png_decode(picture *out, const unsigned char *d, size_t size, int *orientation,
                             char why[256])
{
    png_reader p = {0};
    p.orientation = 1;
    p.data = (unsigned char *)malloc(size);
    if (!p.data) return picture_fail(why, "no memory for a file of %zu bytes", size);
    unsigned char *rows = png_chunks(&p, out, d, size, why) ? png_inflate(&p, why) : NULL;
    free(p.data);
    int ok = rows && picture_new(out, why) && png_rows(&p, rows, out, why);
    free(rows);
    *orientation = p.orientation;
    return ok;
}

/* -------------------------------------------------------------------------- */
/* JPEG (ITU T.81): every scan is walked through, code by code, before stb sees it */

enum {
    JPEG_SOF0 = 0xc0, JPEG_SOF2 = 0xc2, JPEG_SOF3 = 0xc3, JPEG_DHT = 0xc4, JPEG_JPG = 0xc8,
    JPEG_SOF9 = 0xc9, JPEG_SOF11 = 0xcb, JPEG_DAC = 0xcc, JPEG_RST0 = 0xd0, JPEG_SOI = 0xd8,
    JPEG_EOI = 0xd9, JPEG_SOS = 0xda, JPEG_DQT = 0xdb, JPEG_DNL = 0xdc, JPEG_DRI = 0xdd,
    JPEG_APP0 = 0xe0, JPEG_APP1 = 0xe1, JPEG_APP14 = 0xee, JPEG_APP15 = 0xef, JPEG_SOF55 = 0xf7,
    JPEG_COM = 0xfe,
    JPEG_SCANS = 100,           /* usual are 1 to 12; each costs a walk over all blocks */
    JPEG_UNSEEN = 255
};

typedef struct jpeg_codes {     /* a Huffman table */
    int count;                  /* 0: not defined */
    uint32_t limit[17];         /* of the codes of each length, as if they had 16 bits */
    int offset[17];             /* of a code in value[] is this + code */
    unsigned char value[256];
} jpeg_codes;

typedef struct jpeg_component {
    int id, h, v;               /* its sampling factors */
    int table;                  /* of its quantization */
    int dc_codes, ac_codes;     /* in this scan */
    int blocks_x, blocks_y;     /* in a scan of its own */
    int row;                    /* blocks in a row of nonzero[] */
    int dc;                     /* the DC coefficient of the block before */
    int seen;                   /* in any scan? */
    unsigned char low[64];      /* progressive: the lowest bit known of each coefficient */
    uint64_t *nonzero;          /* progressive: a bit for each coefficient of each block */
} jpeg_component;

typedef struct jpeg_reader {
    const unsigned char *at, *end;
    uint32_t buffer;            /* its lowest `bits` bits were read and not yet used */
    int bits;
    const char *fault;          /* of the data of a scan */

    jpeg_codes codes[2][4];     /* DC, AC */
    uint16_t quantization[4][64];
    int quantized;              /* a bit for each of those that are defined */
    int progressive, count, mcus_x, mcus_y;
    jpeg_component component[4];
    uint32_t restart_interval;

    jpeg_component *in[4];      /* of the scan */
    int in_count, from, to, high, low;
    uint32_t blocks_to_skip;    /* EOBRUN */
    int scans;

    int jfif, adobe;            /* adobe: its colour transform, or -1 */
    int orientation;
    unsigned char *copy;        /* what stb gets */
    size_t size;
} jpeg_reader;

/* Reads bits until 25 are there or a marker comes; a zero after 0xff only tells it from markers. */
static inline void jpeg_fill(jpeg_reader *j)
{
    while (j->bits <= 24 && j->at < j->end) {
        int stuffed = *j->at == 0xff;
        if (stuffed && (j->end - j->at < 2 || j->at[1])) return;
        j->buffer = j->buffer << 8 | *j->at;
        j->bits += 8;
        j->at += 1 + stuffed;
    }
}

/* At most 16 bits; -1 where the data ends before them. */
static inline int jpeg_bits(jpeg_reader *j, int n)
{
    if (!n) return 0;
    if (j->bits < n) jpeg_fill(j);
    if (j->bits < n) {
        j->fault = j->end - j->at < 2 ? "the file is cut short"
                                      : "damaged: its data ends before its last block";
        return -1;
    }
    j->bits -= n;
    return (int)(j->buffer >> j->bits & ((1u << n) - 1));
}

/* The value of the next Huffman code, or -1. */
static inline int jpeg_code(jpeg_reader *j, const jpeg_codes *c)
{
    if (j->bits < 16) jpeg_fill(j);
    uint32_t ahead = (j->bits < 16 ? j->buffer << (16 - j->bits) : j->buffer >> (j->bits - 16))
                   & 0xffff;
    for (int length = 1; length <= 16; length++) {
        if (ahead >= c->limit[length]) continue;
        int code = jpeg_bits(j, length);
        return code < 0 ? -1 : c->value[c->offset[length] + code];
    }
    if (j->bits < 16) return jpeg_bits(j, 16);
    j->fault = "damaged: its data has a code that its Huffman table lacks";
    return -1;
}

/* Adds a number of `n` bits to *value; 0 where the sum, scaled, is more than any picture has. */
static inline int jpeg_add(jpeg_reader *j, int n, int scale, int *value)
{
    j->fault = "damaged: its data has a coefficient that is too large";
    int bits = n > 15 ? -1 : jpeg_bits(j, n);
    if (bits < 0) return 0;
    *value += n && bits < 1 << (n - 1) ? bits - (1 << n) + 1 : bits;
    return (long long)abs(*value) * (scale ? scale : 1) <= 32767;
}

/* The code for the end of a block's coefficients; progressive, of more blocks after it. */
static inline int jpeg_end_of_band(jpeg_reader *j, int run)
{
    int more = jpeg_bits(j, run);
    if (more < 0) return 0;
    j->blocks_to_skip = j->progressive ? (1u << run) - 1 + (uint32_t)more : 0;
    return 1;
}

/* A block in a sequential scan, or in the first progressive scan of its coefficients. */
static inline int jpeg_block(jpeg_reader *j, jpeg_component *c, uint64_t *nonzero)
{
    const uint16_t *quantization = j->quantization[c->table];
    int k = j->from;
    if (k == 0) {
        int n = jpeg_code(j, &j->codes[0][c->dc_codes]);
        int scale = j->progressive ? 1 << j->low : quantization[0];
        if (n < 0 || !jpeg_add(j, n, scale, &c->dc)) return 0;
        k = 1;
    }
    if (j->blocks_to_skip) return j->blocks_to_skip--, 1;
    for (; k <= j->to; k++) {
        int code = jpeg_code(j, &j->codes[1][c->ac_codes]), run = code >> 4, n = code & 15;
        if (code < 0) return 0;
        if (!n && run < 15) return jpeg_end_of_band(j, j->progressive ? run : 0);
        k += run;
        if (!n) continue;
        if (k > j->to) return j->fault = "damaged: its data has a block of too many values", 0;
        int scale = j->progressive ? 1 << j->low : quantization[k];
        int value = 0;
        if (!jpeg_add(j, n, scale, &value)) return 0;
        if (nonzero) *nonzero |= (uint64_t)1 << k;
    }
    return 1;
}

/* One more bit of each coefficient from k on that is not zero, up to the `zeros`-th other one or
   the end of the scan's coefficients; where that is, or -1. */
static inline int jpeg_refine_values(jpeg_reader *j, uint64_t nonzero, int k, int zeros)
{
    for (; k <= j->to; k++) {
        if (nonzero >> k & 1) {
            if (jpeg_bits(j, 1) < 0) return -1;
        } else if (!zeros--) {
            break;
        }
    }
    return k;
}

/* A block in a progressive scan that adds a bit to its coefficients. */
static inline int jpeg_refine(jpeg_reader *j, jpeg_component *c, uint64_t *nonzero)
{
    int k = j->from;
    if (k == 0) return jpeg_bits(j, 1) >= 0;
    while (!j->blocks_to_skip && k <= j->to) {
        int code = jpeg_code(j, &j->codes[1][c->ac_codes]), run = code >> 4, n = code & 15;
        if (code < 0) return 0;
        if (n > 1) return j->fault = "damaged: its data refines a value by several bits", 0;
        if (!n && run < 15) {
            if (!jpeg_end_of_band(j, run)) return 0;
            j->blocks_to_skip++;
            break;
        }
        if (n && jpeg_bits(j, 1) < 0) return 0;     /* its sign */
        k = jpeg_refine_values(j, *nonzero, k, run);
        if (k < 0) return 0;
        if (n && k > j->to) return j->fault = "damaged: its data has a block of too many values", 0;
        if (n) *nonzero |= (uint64_t)1 << k;
        k++;
    }
    if (!j->blocks_to_skip) return 1;
    j->blocks_to_skip--;
    return jpeg_refine_values(j, *nonzero, k, 64) >= 0;
}

static inline int jpeg_block_at(jpeg_reader *j, jpeg_component *c, int x, int y)
{
    uint64_t *nonzero = c->nonzero ? c->nonzero + (size_t)y * (size_t)c->row + x : NULL;
    return j->high ? jpeg_refine(j, c, nonzero) : jpeg_block(j, c, nonzero);
}

/* What is coded together: a block of the scan's only component, or h x v blocks of each. */
static inline int jpeg_mcu(jpeg_reader *j, int x, int y)
{
    if (j->in_count == 1) return jpeg_block_at(j, j->in[0], x, y);
    for (int i = 0; i < j->in_count; i++) {
        jpeg_component *c = j->in[i];
        for (int k = 0; k < c->h * c->v; k++)
            if (!jpeg_block_at(j, c, x * c->h + k % c->h, y * c->v + k / c->h)) return 0;
    }
    return 1;
}

/* Forgets the bits that fill the last byte; whole bytes that were read too early are put back. */
static inline void jpeg_align(jpeg_reader *j)
{
    for (; j->bits >= 8; j->bits -= 8) j->at -= j->at[-1] == 0 && j->at[-2] == 0xff ? 2 : 1;
    j->bits = 0;
}

static inline void jpeg_restart(jpeg_reader *j)
{
    j->bits = 0;
    j->blocks_to_skip = 0;
    for (int i = 0; i < j->in_count; i++) j->in[i]->dc = 0;
}

/* Passes over the marker between two restart intervals, the n-th of this scan. */
static inline int jpeg_restart_marker(jpeg_reader *j, unsigned n)
{
    jpeg_align(j);
    while (j->end - j->at >= 2 && j->at[0] == 0xff && j->at[1] == 0xff) j->at++;
    j->fault = "the file is cut short";
    if (j->end - j->at < 2) return 0;
    j->fault = "damaged: a restart marker is not where it should be";
    if (j->at[0] != 0xff || j->at[1] != JPEG_RST0 + n % 8) return 0;
    j->at += 2;
    jpeg_restart(j);
    return 1;
}

static inline void jpeg_keep(jpeg_reader *j, const unsigned char *from, size_t size)
{
    memcpy(j->copy + j->size, from, size);
    j->size += size;
}

/* Walks through the data of a scan, and keeps as much of it as has blocks: some cameras pad it. */
static inline int jpeg_scan_data(jpeg_reader *j, char why[256])
{
    const unsigned char *start = j->at;
    int one = j->in_count == 1;
    unsigned across = (unsigned)(one ? j->in[0]->blocks_x : j->mcus_x);
    unsigned count = across * (unsigned)(one ? j->in[0]->blocks_y : j->mcus_y);
    jpeg_restart(j);
    for (unsigned i = 0; i < count; i++) {
        int restarts = i && j->restart_interval && i % j->restart_interval == 0;
        if ((restarts && !jpeg_restart_marker(j, i / j->restart_interval - 1))
            || !jpeg_mcu(j, (int)(i % across), (int)(i / across)))
            return picture_fail(why, "%s", j->fault);
    }
    jpeg_align(j);
    jpeg_keep(j, start, (size_t)(j->at - start));
    return 1;
}

/* Segment DHT: lengths, then values; the codes follow from them. */
static inline int jpeg_huffman(jpeg_reader *j, const unsigned char *d, size_t size, char why[256])
{
    while (size) {
        if (size < 17) return picture_fail(why, "damaged: a Huffman table is cut");
        if (d[0] >> 4 > 1 || (d[0] & 15) > 3)
            return picture_fail(why, "damaged: a Huffman table has no number from 0 to 3");
        jpeg_codes *c = &j->codes[d[0] >> 4][d[0] & 15];
        int code = 0;
        c->count = 0;
        for (int length = 1; length <= 16; length++) {
            c->offset[length] = c->count - code;
            c->count += d[length];
            code += d[length];
            if (c->count > 256 || code > 1 << length)
                return picture_fail(why, "damaged: a Huffman table has too many codes");
            c->limit[length] = (uint32_t)code << (16 - length);
            code *= 2;
        }
        if (size - 17 < (size_t)c->count)
            return picture_fail(why, "damaged: a Huffman table is cut");
        memcpy(c->value, d + 17, (size_t)c->count);
        size -= 17 + (size_t)c->count;
        d += 17 + c->count;
    }
    return 1;
}

/* Segment DQT. */
static inline int jpeg_quantization(jpeg_reader *j, const unsigned char *d, size_t size,
                                    char why[256])
{
    if (j->progressive && j->scans)
        return picture_fail(why, "a progressive JPEG whose quantization changes between scans");
    while (size) {
        size_t bytes = 1 + (size_t)(d[0] >> 4), number = d[0] & 15;
        if (bytes > 2 || number > 3 || size < 1 + 64 * bytes)
            return picture_fail(why, "damaged: a quantization table is cut or has no number");
        for (size_t i = 0; i < 64; i++)
            j->quantization[number][i] = (uint16_t)big_endian(d + 1 + i * bytes, (int)bytes);
        j->quantized |= 1 << number;
        size -= 1 + 64 * bytes;
        d += 1 + 64 * bytes;
    }
    return 1;
}

static inline int jpeg_component_new(jpeg_reader *j, int i, const unsigned char *d, char why[256])
{
    jpeg_component *c = &j->component[i];
    c->id = d[0];
    c->h = d[1] >> 4;
    c->v = d[1] & 15;
    c->table = d[2];
    if (c->h < 1 || c->h > 4 || c->v < 1 || c->v > 4 || c->table > 3)
        return picture_fail(why, "damaged: its frame header (SOF)");
    for (int k = 0; k < i; k++)
        if (j->component[k].id == c->id)
            return picture_fail(why, "damaged: two components have one number");
    memset(c->low, JPEG_UNSEEN, sizeof c->low);
    return 1;
}

/* What a frame of these factors needs of its components. */
static inline int jpeg_layout(jpeg_reader *j, const picture *p, char why[256])
{
    int h = 1, v = 1;
    for (int i = 0; i < j->count; i++) {
        if (j->component[i].h > h) h = j->component[i].h;
        if (j->component[i].v > v) v = j->component[i].v;
    }
    j->mcus_x = (p->width + 8 * h - 1) / (8 * h);
    j->mcus_y = (p->height + 8 * v - 1) / (8 * v);
    for (int i = 0; i < j->count; i++) {
        jpeg_component *c = &j->component[i];
        if (h % c->h || v % c->v)
            return picture_fail(why, "a JPEG whose sampling factors are not parts of each other");
        c->blocks_x = ((p->width * c->h + h - 1) / h + 7) / 8;
        c->blocks_y = ((p->height * c->v + v - 1) / v + 7) / 8;
        c->row = j->mcus_x * c->h;
        if (!j->progressive) continue;
        c->nonzero = (uint64_t *)calloc((size_t)c->row * (size_t)(j->mcus_y * c->v),
                                        sizeof *c->nonzero);
        if (!c->nonzero) return picture_fail(why, "no memory for a progressive JPEG");
    }
    return 1;
}

/* Why frames of this marker are not read, or NULL. */
static inline const char *jpeg_foreign(int marker)
{
    if (marker >= JPEG_SOF0 && marker <= JPEG_SOF2) return NULL;
    if (marker == JPEG_SOF3 || marker == JPEG_SOF55) return "a lossless JPEG: save it as PNG";
    int arithmetic = marker >= JPEG_SOF9 && marker <= JPEG_SOF11;
    return arithmetic ? "a JPEG with arithmetic coding: save it again"
                      : "a hierarchical JPEG: save it again";
}

/* Segment SOF. stb tells RGB by the components' numbers, too: they become 1, 2, ... in the copy,
   and the colours are told by Adobe's segment alone. */
static inline int jpeg_frame(jpeg_reader *j, picture *p, int marker, const unsigned char *d,
                             size_t size, char why[256])
{
    if (jpeg_foreign(marker)) return picture_fail(why, "%s", jpeg_foreign(marker));
    if (j->count) return picture_fail(why, "damaged: it has two frame headers (SOF)");
    if (size < 6 || size != 6 + 3 * (size_t)d[5])
        return picture_fail(why, "damaged: its frame header (SOF)");
    if (d[0] != 8) return picture_fail(why, "a JPEG of %d bits: only those of 8 are read", d[0]);
    if (d[5] != 1 && d[5] != 3 && d[5] != 4)
        return picture_fail(why, "a JPEG of %d components: 1, 3 or 4 are read", d[5]);
    if (!big_endian(d + 1, 2))
        return picture_fail(why, "a JPEG that tells its height after its data: save it again");
    if (!picture_sized(p, big_endian(d + 3, 2), big_endian(d + 1, 2), why)) return 0;
    j->progressive = marker == JPEG_SOF2;
    j->count = d[5];
    for (int i = 0; i < j->count; i++) {
        if (!jpeg_component_new(j, i, d + 6 + 3 * i, why)) return 0;
        j->copy[j->size - size + 6 + 3 * (size_t)i] = (unsigned char)(i + 1);
    }
    return jpeg_layout(j, p, why);
}

/* Progressive: whether the scans so far allow these coefficients and bits of a component. */
static inline int jpeg_progression(jpeg_reader *j, jpeg_component *c, char why[256])
{
    for (int k = j->from; k <= j->to; k++) {
        if (c->low[k] != (j->high ? j->high : JPEG_UNSEEN))
            return picture_fail(why, "damaged: its scans do not follow from each other");
        c->low[k] = (unsigned char)j->low;
    }
    if (c->low[0] == JPEG_UNSEEN)
        return picture_fail(why, "damaged: its scans do not begin with the DC coefficients");
    return 1;
}

/* Which coefficients and bits the scan has. */
static inline int jpeg_band(jpeg_reader *j, const unsigned char *d, char why[256])
{
    j->from = d[0];
    j->to = j->progressive ? d[1] : 63;
    j->high = d[2] >> 4;
    j->low = d[2] & 15;
    int ok = !j->progressive ? !j->from && !d[2]
           : j->from <= j->to && j->to <= 63 && (j->from ? j->in_count == 1 : !j->to)
             && j->low <= 13 && (!j->high || j->high == j->low + 1);
    return ok ? 1 : picture_fail(why, "damaged: a scan header (SOS)");
}

static inline int jpeg_scan_component(jpeg_reader *j, jpeg_component *c, int tables, char why[256])
{
    c->dc_codes = tables >> 4;
    c->ac_codes = tables & 15;
    if (c->dc_codes > 3 || c->ac_codes > 3)
        return picture_fail(why, "damaged: a scan header (SOS)");
    if (!j->progressive && c->seen)
        return picture_fail(why, "damaged: a component has two scans");
    int needs_dc = !j->from && !j->high, needs_ac = j->to > 0;
    if ((needs_dc && !j->codes[0][c->dc_codes].count)
        || (needs_ac && !j->codes[1][c->ac_codes].count) || !(j->quantized >> c->table & 1))
        return picture_fail(why, "damaged: a scan lacks one of its tables");
    c->seen = 1;
    return !j->progressive || jpeg_progression(j, c, why);
}

/* Segment SOS. */
static inline int jpeg_scan(jpeg_reader *j, const unsigned char *d, size_t size, char why[256])
{
    if (!j->count) return picture_fail(why, "damaged: a scan before the frame header (SOF)");
    if (j->scans++ == JPEG_SCANS)
        return picture_fail(why, "a JPEG of more than %d scans: save it again", JPEG_SCANS);
    if (size < 4 || d[0] < 1 || d[0] > j->count || size != 4 + 2 * (size_t)d[0])
        return picture_fail(why, "damaged: a scan header (SOS)");
    j->in_count = d[0];
    if (!jpeg_band(j, d + size - 3, why)) return 0;
    for (int i = 0, next = 0; i < j->in_count; i++, next++) {
        while (next < j->count && j->component[next].id != d[1 + 2 * i]) next++;
        if (next == j->count)
            return picture_fail(why, "damaged: a scan's components are not those of the frame");
        j->in[i] = &j->component[next];
        j->copy[j->size - size + 1 + 2 * (size_t)i] = (unsigned char)(next + 1);
        if (!jpeg_scan_component(j, j->in[i], d[2 + 2 * i], why)) return 0;
    }
    return jpeg_scan_data(j, why);
}

/* Segments APP0, APP1 and APP14: how colours are meant and how the camera was held. */
static inline void jpeg_application(jpeg_reader *j, int marker, const unsigned char *d, size_t size)
{
    if (marker == JPEG_APP0 && size >= 14 && !memcmp(d, "JFIF", 5)) j->jfif = 1;
    if (marker == JPEG_APP14 && size >= 12 && !memcmp(d, "Adobe", 5)) j->adobe = d[11];
    if (marker == JPEG_APP1 && size >= 6 && !memcmp(d, "Exif\0", 6) && !j->orientation)
        j->orientation = exif_orientation(d + 6, size - 6);
}

/* Passes over what is no marker of a segment, and gives the next; 0 at the end of the file. */
static inline int jpeg_marker(jpeg_reader *j)
{
    while (j->end - j->at >= 2) {
        const unsigned char *d = j->at++;
        int alone = d[1] >= JPEG_RST0 && d[1] <= JPEG_SOI;
        int known = (d[1] >= JPEG_SOF0 && d[1] <= JPEG_APP15 && !alone) || d[1] == JPEG_COM
                 || (d[1] == JPEG_SOF55 && !j->count);
        if (d[0] != 0xff || !known) continue;
        j->at++;
        return d[1];
    }
    return 0;
}

/* A segment that begins behind its marker. */
static inline int jpeg_segment(jpeg_reader *j, picture *p, int marker, char why[256])
{
    size_t room = (size_t)(j->end - j->at), size = room < 2 ? 0 : big_endian(j->at, 2);
    if (room < 2 || size > room) return picture_cut(why);
    if (size < 2) return picture_fail(why, "damaged: the length of a segment");
    const unsigned char *start = j->at - 2, *d = j->at + 2;
    j->at += size;
    size -= 2;
    int ignored = marker >= JPEG_APP0 || marker == JPEG_DNL || marker == JPEG_JPG
               || marker == JPEG_DAC;
    if (!ignored) jpeg_keep(j, start, size + 4);
    if (marker == JPEG_DHT) return jpeg_huffman(j, d, size, why);
    if (marker == JPEG_DQT) return jpeg_quantization(j, d, size, why);
    if (marker == JPEG_SOS) return jpeg_scan(j, d, size, why);
    if (marker == JPEG_DRI) {
        if (size != 2) return picture_fail(why, "damaged: the restart interval");
        j->restart_interval = big_endian(d, 2);
        return 1;
    }
    if (!ignored || marker == JPEG_SOF55) return jpeg_frame(j, p, marker, d, size, why);
    if (!j->scans) jpeg_application(j, marker, d, size);
    return 1;
}

/* The colours are those that libjpeg takes: JFIF is YCbCr, Adobe's segment tells, numbers "RGB"
   are RGB. Of four components, as Adobe has them, all are inverted. */
static inline int jpeg_transform(const jpeg_reader *j)
{
    const jpeg_component *c = j->component;
    if (j->count == 4) return j->adobe > 0 ? 2 : 0;
    if (j->jfif) return 1;
    if (j->adobe >= 0) return j->adobe != 0;
    return !(c[0].id == 'R' && c[1].id == 'G' && c[2].id == 'B');
}

/* Checks the picture from its start to the end-of-image marker; others may follow (MPO). */
static inline int jpeg_check(jpeg_reader *j, picture *p, char why[256])
{
    static const unsigned char start[] = {
        0xff, JPEG_SOI, 0xff, JPEG_APP14, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, 0
    };
    static const unsigned char end[] = {0xff, JPEG_EOI};
    jpeg_keep(j, start, sizeof start);
    for (int marker; (marker = jpeg_marker(j)) != JPEG_EOI;) {
        if (!marker) return picture_cut(why);
        if (!jpeg_segment(j, p, marker, why)) return 0;
    }
    if (!j->count) return picture_fail(why, "damaged: it has no frame header (SOF)");
    for (int i = 0; i < j->count; i++)
        if (!j->component[i].seen) return picture_fail(why, "damaged: a component has no scan");
    j->copy[sizeof start - 1] = (unsigned char)jpeg_transform(j);
    jpeg_keep(j, end, sizeof end);
    return 1;
}

static inline int jpeg_decode(picture *p, const unsigned char *d, size_t size, int *orientation,
                              char why[256])
{
    enum { ADDED = 32 };                                /* jpeg_check's own segments */
    jpeg_reader *j = (jpeg_reader *)calloc(1, sizeof *j);
    unsigned char *copy = (unsigned char *)malloc(size + ADDED);
    int ok = j && copy, channels;
    if (!ok) picture_fail(why, "no memory for a file of %zu bytes", size);
    if (ok) {
        j->at = d + 2;
        j->end = d + size;
        j->adobe = -1;
        j->copy = copy;
        ok = jpeg_check(j, p, why);
        for (int i = 0; i < j->count; i++) free(j->component[i].nonzero);
    }
    if (ok) {
        p->rgb = stbi_load_from_memory(copy, (int)j->size, &p->width, &p->height, &channels, 3);
        ok = p->rgb ? 1 : picture_fail(why, "stb_image refuses it: %s", stbi_failure_reason());
        if (j->orientation) *orientation = j->orientation;
    }
    free(copy);
    free(j);
    return ok;
}

/* -------------------------------------------------------------------------- */
/* PNM: P1 to P6, and P7 (PAM), by the manual pages of Netpbm                 */

typedef struct pnm_reader {
    const unsigned char *at, *end;
    int kind;                   /* the digit after P */
    int plain;                  /* numbers as text? */
    int channels;               /* samples of a pixel */
    uint32_t max;               /* the value of white */
} pnm_reader;

static inline int pnm_white(int c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* The next character, or -1; a comment up to the end of its line is one, white. */
static inline int pnm_char(pnm_reader *s)
{
    if (s->at == s->end) return -1;
    int c = *s->at++;
    if (c != '#') return c;
    while (s->at < s->end && s->at[0] != '\n' && s->at[0] != '\r') s->at++;
    s->at += s->at < s->end;
    return '\n';
}

static inline int pnm_skip_white(pnm_reader *s)    /* the first character after it, or -1 */
{
    int c;
    do c = pnm_char(s); while (pnm_white(c));
    return c;
}

/* A number up to 99999999, and the one character after it, which must be white. */
static inline int pnm_number(pnm_reader *s, uint32_t *value, char why[256])
{
    int c = pnm_skip_white(s);
    if (c < 0) return picture_cut(why);
    for (*value = 0; c >= '0' && c <= '9' && *value < 10000000; c = pnm_char(s))
        *value = *value * 10 + (uint32_t)(c - '0');
    if (c < 0 || pnm_white(c)) return 1;
    return picture_fail(why, "damaged: '%c' where a number should be", c ? c : ' ');
}

/* One line of a PAM header; 0 at its end or with a sentence. */
static inline int pam_line(pnm_reader *s, char line[80], char why[256])
{
    int n = 0, c;
    while ((c = s->at < s->end ? *s->at++ : -1) != '\n') {
        if (c < 0) return picture_cut(why);
        if (n == 79) return picture_fail(why, "a PAM with a line of more than 79 characters");
        line[n++] = (char)c;
    }
    if (n && line[n - 1] == '\r') n--;
    line[n] = 0;
    return 1;
}

static inline int pam_header(pnm_reader *s, uint32_t *width, uint32_t *height, char why[256])
{
    char line[80], name[9], type[40] = "";
    unsigned depth = 0, value;
    *width = *height = s->max = 0;
    for (;;) {
        if (!pam_line(s, line, why)) return 0;
        if (!strncmp(line, "ENDHDR", 6)) break;
        if (!*line || *line == '#' || sscanf(line, "TUPLTYPE %39s", type) == 1) continue;
        if (sscanf(line, "%8s %9u", name, &value) != 2)
            return picture_fail(why, "a PAM header with '%.40s'", line);
        if (!strcmp(name, "WIDTH")) *width = value;
        if (!strcmp(name, "HEIGHT")) *height = value;
        if (!strcmp(name, "DEPTH")) depth = value;
        if (!strcmp(name, "MAXVAL")) s->max = value;
    }
    static const char *const types[] = {"", "GRAYSCALE", "GRAYSCALE_ALPHA", "RGB", "RGB_ALPHA"};
    int bitmap = !strcmp(type, "BLACKANDWHITE") || !strcmp(type, "BLACKANDWHITE_ALPHA");
    if (depth < 1 || depth > 4 || (*type && !bitmap && strcmp(type, types[depth]))
        || (bitmap && depth > 2))
        return picture_fail(why, "a PAM of %u channels and type '%s': grey and RGB are read",
                            depth, type);
    s->channels = (int)depth;
    return 1;
}

static inline int pnm_header(pnm_reader *s, picture *p, char why[256])
{
    uint32_t width, height;
    s->max = 1;
    s->plain = s->kind <= 3;
    s->channels = s->kind == 3 || s->kind == 6 ? 3 : 1;
    if (s->kind == 7) {
        if (!pam_header(s, &width, &height, why)) return 0;
    } else if (!pnm_number(s, &width, why) || !pnm_number(s, &height, why)
               || (s->kind != 1 && s->kind != 4 && !pnm_number(s, &s->max, why))) {
        return 0;
    }
    if (s->max < 1 || s->max > 65535)
        return picture_fail(why, "a PNM whose white is %u: from 1 to 65535 it may be",
                            (unsigned)s->max);
    return picture_sized(p, width, height, why);
}

/* The next sample, white 255, to *grey. */
static inline int pnm_sample(pnm_reader *s, unsigned char *grey, char why[256])
{
    uint32_t value = 0;
    if (s->kind == 1) {
        int c = pnm_skip_white(s);
        if (c < 0) return picture_cut(why);
        if (c != '0' && c != '1') return picture_fail(why, "damaged: a bit is neither 0 nor 1");
        value = c == '0';
    } else if (s->plain) {
        if (!pnm_number(s, &value, why)) return 0;
    } else {
        int bytes = 1 + (s->max > 255);
        value = big_endian(s->at, bytes);
        s->at += bytes;
    }
    if (value > s->max)
        return picture_fail(why, "a value of %u is above its maximum %u", (unsigned)value,
                            (unsigned)s->max);
    *grey = (unsigned char)((value * 255 + s->max / 2) / s->max);
    return 1;
}

static inline int pnm_pixel(pnm_reader *s, unsigned char *rgb, char why[256])
{
    unsigned char sample[4];
    for (int c = 0; c < s->channels; c++)
        if (!pnm_sample(s, &sample[c], why)) return 0;
    for (int c = 0; c < 3; c++) rgb[c] = sample[s->channels < 3 ? 0 : c];
    return 1;
}

/* Rows of bits, each filled up to whole bytes; 1 is black. */
static inline void pnm_bits(const pnm_reader *s, picture *p)
{
    size_t w = (size_t)p->width, row = (w + 7) / 8;
    for (size_t y = 0; y < (size_t)p->height; y++)
        for (size_t x = 0; x < w; x++) {
            int black = s->at[y * row + x / 8] >> (7 - x % 8) & 1;
            memset(p->rgb + 3 * (y * w + x), black ? 0 : 255, 3);
        }
}

/* Steps over what some programs write between the header and its data, where the manual pages have
   one white byte: the rest of a CR LF, and comments. Such bytes might be pixels: they are none if
   the data then ends where the file does. */
static inline void pnm_skip_foreign(pnm_reader *s, size_t data_size)
{
    const unsigned char *data = s->end - data_size;
    pnm_reader ahead = *s;
    while (ahead.at < data && (*ahead.at == '#' || (*ahead.at == '\n' && ahead.at[-1] == '\r')))
        pnm_char(&ahead);
    if (ahead.at == data) s->at = data;
}

static inline int pnm_decode(picture *p, const unsigned char *d, size_t size, char why[256])
{
    pnm_reader s = {d + 2, d + size, d[1] - '0', 0, 0, 0};
    if (!pnm_header(&s, p, why)) return 0;
    size_t pixels = (size_t)p->width * (size_t)p->height, samples = pixels * (size_t)s.channels;
    size_t least = s.kind == 4 ? (size_t)(p->width + 7) / 8 * (size_t)p->height
                 : s.kind == 1 ? samples : s.plain ? 2 * samples - 1
                 : samples * (s.max > 255 ? 2 : 1);
    if ((size_t)(s.end - s.at) < least) return picture_cut(why);
    if (!s.plain) pnm_skip_foreign(&s, least);
    if (!picture_new(p, why)) return 0;
    if (s.kind == 4) return pnm_bits(&s, p), 1;
    for (size_t i = 0; i < pixels; i++)
        if (!pnm_pixel(&s, p->rgb + 3 * i, why)) return 0;
    return 1;
}

/* -------------------------------------------------------------------------- */
/* any picture                                                                */

/* Says what a file is that is no picture that can be read, as far as its first bytes tell. */
static inline int picture_unknown(const unsigned char *d, size_t size, char why[256])
{
    static const struct { size_t at; const char *bytes, *name; } known[] = {
        {0, "GIF8", "a GIF"}, {8, "WEBP", "a WebP picture"}, {0, "BM", "a BMP picture"},
        {0, "II*", "a TIFF or a camera's raw file"}, {0, "MM", "a TIFF or a camera's raw file"},
        {4, "ftypavif", "an AVIF picture"}, {4, "ftyphei", "a HEIC picture"},
        {4, "ftypmif1", "a HEIF picture"}, {4, "ftyp", "a video"}, {4, "JXL ", "a JPEG XL"},
        {0, "\xff\x0a", "a JPEG XL"}, {4, "jP  ", "a JPEG 2000"}, {0, "\xff\x4f", "a JPEG 2000"},
        {0, "8BPS", "a Photoshop document"}, {0, "%PDF", "a PDF"}, {0, "<svg", "an SVG"},
        {0, "PF", "a map of floats (PFM)"}, {0, "Pf", "a map of floats (PFM)"},
        {0, "PK\3\4", "a zip archive"}, {0, "\x1f\x8b", "a gzip archive"},
        {0, "RIFF", "a sound or video"},
        {0, "<", "a web page or XML"}, {0, "{", "a JSON text"},
        {0, "\x89SWIN", "a model, which -m names"},
        {0, "version https://git-lfs", "a pointer of Git LFS (git lfs pull fetches the picture)"},
        {0, "\x89PNG", "a damaged PNG: its first bytes were changed as if it were text"}
    };
    if (!size) return picture_fail(why, "no PNG, JPEG or PNM picture: the file is empty");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t length = strlen(known[i].bytes);
        if (size >= known[i].at + length && !memcmp(d + known[i].at, known[i].bytes, length))
            return picture_fail(why, "no PNG, JPEG or PNM picture but %s", known[i].name);
    }
    return picture_fail(why, "no PNG, JPEG or PNM picture");
}

static inline int picture_of_kind(picture *p, const unsigned char *d, size_t size,
                                  int *orientation, char why[256])
{
    if (size >= 8 && !memcmp(d, "\x89PNG\r\n\x1a\n", 8))
        return png_decode(p, d, size, orientation, why);
    if (size >= 2 && d[0] == 0xff && d[1] == JPEG_SOI)
        return jpeg_decode(p, d, size, orientation, why);
    if (size >= 3 && d[0] == 'P' && d[1] >= '1' && d[1] <= '7' && (pnm_white(d[2]) || d[2] == '#'))
        return pnm_decode(p, d, size, why);
    return picture_unknown(d, size, why);
}

/* Decodes the `size` bytes of a PNG, JPEG or PNM file. Grey becomes RGB, 16 bits become 8,
   transparency is dropped, what a camera took on its side stands upright. p->rgb is to be freed;
   where it fails it is NULL, the result 0, and `why` tells what is wrong with the file. */
static inline int picture_decode(picture *p, const unsigned char *bytes, size_t size,
                                 char why[256])
{
    int orientation = 1;
    memset(p, 0, sizeof *p);
    int ok = size < INT_MAX - 64 ? picture_of_kind(p, bytes, size, &orientation, why)
                                 : picture_fail(why, "a file of more than 2 GiB");
    if (ok && orientation != 1 && !picture_turn(p, orientation))
        ok = picture_fail(why, "no memory to turn it upright");
    if (ok) return 1;
    free(p->rgb);
    memset(p, 0, sizeof *p);
    return 0;
}

/* picture_decode of a file. */
static inline int picture_read(picture *p, const char *path, char why[256])
{
    file_bytes b;
    int error = file_load(path, &b);
    memset(p, 0, sizeof *p);
    if (error) return picture_fail(why, "%s", load_error(error));
    int ok = picture_decode(p, b.data, b.size, why);
    file_free(&b);
    return ok;
}

/* Writes a PNG of 1 (grey), 3 (RGB) or 4 (RGBA) channels of 8 bits, or 2: one grey channel of 16
   bits, the high byte first. stb has no 16 bits, but its grey and alpha are the same bytes under
   another header. 0 or an errno: EINVAL without a pixel, EFBIG where stb's ints do not hold the file. */
static inline int picture_write(const char *path, const unsigned char *pixels, int w, int h,
                                int channels)
{
    enum { IHDR = 12, DEPTH = 24, COLOUR = 25, CRC = 29 };
    int size;
    if (w < 1 || h < 1 || channels < 1 || channels > 4) return EINVAL;
    if ((long long)h * ((long long)w * channels + 1) > INT_MAX / 4 - 1) return EFBIG;
    unsigned char *file = stbi_write_png_to_mem(pixels, w * channels, w, h, channels, &size);
    if (!file) return ENOMEM;
    if (channels == 2) {
        file[DEPTH] = 16;
        file[COLOUR] = 0;
        uint32_t crc = png_crc(file + IHDR, CRC - IHDR);
        for (int i = 0; i < 4; i++) file[CRC + i] = (unsigned char)(crc >> (24 - 8 * i));
    }
    int why = file_save(path, file, (size_t)size);
    free(file);
    return why;
}

#endif /* PICTURE_H */
