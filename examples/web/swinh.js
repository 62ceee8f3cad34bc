/* swinh - what every pixel of a picture shows, by swin.h in WebAssembly; in browsers and in node.
   swinh.d.ts describes what is exported. */

const PAGE = 65536, MOST_PAGES = 16384, MOST_THREADS = 16;
const IN_NODE = typeof process === 'object' && !!process.versions?.node;

/* A module whose one function is f32x4.relaxed_madd: engines without relaxed SIMD refuse it. */
const RELAXED_MADD = new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0,                                  // magic, version
    1, 8, 1, 96, 3, 123, 123, 123, 1, 123,                        // type: (v128 v128 v128) -> v128
    3, 2, 1, 0,                                                   // one function of it
    10, 13, 1, 11, 0, 32, 0, 32, 1, 32, 2, 253, 133, 2, 11,       // its code
]);

/* Forms of the module with relaxed SIMD. The first is small and leaves models out, which it refuses
   as not supported; the next has them. */
const RELAXED_FORMS = ['swinh.wasm', 'swinh-whole.wasm'];

export class SwinhError extends Error {
    name = 'SwinhError';
}

/* The bytes of a file beside this one. */
async function bytesOf(file) {
    const url = new URL(file, import.meta.url);
    if (IN_NODE) return (await import('node:fs/promises')).readFile(url);
    const answer = await fetch(url);
    if (!answer.ok) throw new SwinhError(`${file} could not be loaded (HTTP ${answer.status})`);
    return answer.arrayBuffer();
}

/* A thread of its own, and a way to hear of its first message or error. */
async function startHelper(data) {
    const url = new URL('helper.js', import.meta.url);
    const Thread = IN_NODE ? (await import('node:worker_threads')).Worker : Worker;
    const helper = new Thread(url, { type: 'module' });
    const listen = (event, f) => IN_NODE ? helper.once(event, f)
                                         : helper.addEventListener(event, f, { once: true });
    helper.postMessage(data);
    await new Promise((ready, failed) => {
        listen('message', ready);
        listen('error', e => failed(new SwinhError(`a thread did not start: ${e.message}`)));
    });
    if (IN_NODE) helper.unref();
    return helper;
}

/* The module in the form that fits the engine, its memory and its instance. */
async function instantiate(file) {
    const module = await WebAssembly.compile(await bytesOf(file));
    const memory = new WebAssembly.Memory({ initial: 256, maximum: MOST_PAGES, shared: true });
    const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
    return { module, memory, exports };
}

class Model {
    #wasm; #helpers = []; #exact; #size = ''; #pixels = 0;

    constructor(wasm, exact) {
        this.#wasm = wasm;
        this.#exact = exact;
    }

    #bytes(at, length) {
        return new Uint8Array(this.#wasm.memory.buffer, at, length);
    }

    #text(at) {
        const bytes = this.#bytes(at);
        return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
    }

    /* The address that a function of the module gives, or its error. */
    #checked(address) {
        if (address) return address >>> 0;
        throw new SwinhError(this.#text(this.#wasm.exports.error_text()));
    }

    async open(model, threads) {
        const { exports, module, memory } = this.#wasm;
        this.#bytes(this.#checked(exports.place_model(model.length)), model.length).set(model);
        this.#checked(exports.open_model());
        this.classes = Array.from({ length: exports.class_count() }, (_, id) => ({
            id,
            name: this.#text(exports.class_name(id)),
            color: '#' + exports.class_color(id).toString(16).padStart(6, '0'),
        }));
        this.#helpers = await Promise.all(Array.from({ length: threads - 1 }, (_, i) =>
            startHelper({ module, memory, stack: exports.helper_stack(i) })));
        exports.set_helpers(this.#helpers.length);
        this.threads = threads;
    }

    segment(image) {
        const { width, height, data } = image ?? {};
        if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1)
            throw new TypeError('segment wants an ImageData: width and height are whole numbers');
        if (!(data instanceof Uint8Array || data instanceof Uint8ClampedArray) ||
            data.length !== 4 * width * height)
            throw new TypeError(`segment wants an ImageData: data are ${4 * width * height} bytes`);
        if (!this.#wasm) throw new SwinhError('the model was closed');
        const { exports } = this.#wasm, start = performance.now();
        if (this.#size !== `${width} ${height}`) {
            this.#size = '';
            this.#pixels = this.#checked(exports.start(width, height, this.#exact));
            this.#size = `${width} ${height}`;
        }
        this.#bytes(this.#pixels, data.length).set(data);
        const ids = this.#bytes(this.#checked(exports.run()), width * height).slice();
        const ms = performance.now() - start;
        return { width, height, ids, classes: this.#shares(ids), ms, exact: !!exports.is_exact() };
    }

    #shares(ids) {
        const pixels = new Uint32Array(256);
        for (const id of ids) pixels[id]++;
        return this.classes.filter(c => pixels[c.id])
            .map(c => ({ ...c, pixels: pixels[c.id], share: pixels[c.id] / ids.length }))
            .sort((a, b) => b.pixels - a.pixels);
    }

    close() {
        for (const helper of this.#helpers) helper.terminate();
        this.#helpers = [];
        this.#wasm = null;
    }
}

export async function load(model, { threads = 1, exact = false } = {}) {
    if (model instanceof ArrayBuffer) model = new Uint8Array(model);
    if (!(model instanceof Uint8Array))
        throw new TypeError('load wants the bytes of a model: an ArrayBuffer or a Uint8Array');
    if (!Number.isInteger(threads) || threads < 1 || threads > MOST_THREADS)
        throw new TypeError(`load takes 1 to ${MOST_THREADS} threads`);
    for (const form of WebAssembly.validate(RELAXED_MADD) ? RELAXED_FORMS : []) {
        const wasm = await instantiate(form), opened = new Model(wasm, exact);
        if (exact && !wasm.exports.fuses()) break;
        try {
            await opened.open(model, threads);
            return opened;
        } catch (error) {
            if (!wasm.exports.unsupported()) throw error;
        }
    }
    const opened = new Model(await instantiate('swinh-plain.wasm'), exact);
    await opened.open(model, threads);
    return opened;
}
