/* Loads the model and segments pictures, away from the page's own thread. */

import { load } from './swinh.js';

/* Larger pictures are shrunk: the network sees less than that of them. */
const LONGEST_SIDE = 1600;

let model;

async function download(url) {
    const answer = await fetch(url).catch(() => null);
    if (!answer) throw new Error(`The model ${url} could not be loaded: is there a network?`);
    if (!answer.ok) throw new Error(`The model ${url} could not be loaded (HTTP ${answer.status})`);
    const size = Number(answer.headers.get('Content-Length')), pieces = [];
    let got = 0;
    for (const reader = answer.body.getReader();;) {
        const { done, value } = await reader.read();
        if (done) return new Uint8Array(await new Blob(pieces).arrayBuffer());
        pieces.push(value);
        got += value.length;
        postMessage({ type: 'progress', part: size ? got / size : 0,
                      text: `Loading the model, ${(got / 1e6).toFixed(1)} MB` });
    }
}

/* The pixels of a picture file or a frame. */
async function pixelsOf(name, source) {
    const options = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' };
    const whole = source instanceof ImageBitmap ? source
        : await createImageBitmap(source, options).catch(() => {
            throw new Error(`${name} is no picture that this browser can read`);
        });
    const scale = Math.min(1, LONGEST_SIDE / Math.max(whole.width, whole.height));
    const canvas = new OffscreenCanvas(Math.max(1, Math.round(whole.width * scale)),
                                       Math.max(1, Math.round(whole.height * scale)));
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(whole, 0, 0, canvas.width, canvas.height);
    whole.close();
    return { canvas, image: context.getImageData(0, 0, canvas.width, canvas.height) };
}

/* RGBA of the classes' colours. */
function colours(ids) {
    const palette = new Uint32Array(256), overlay = new Uint32Array(ids.length);
    for (const { id, color } of model.classes) {
        const rgb = parseInt(color.slice(1), 16);
        palette[id] = 0xff000000 | (rgb & 0xff) << 16 | (rgb & 0xff00) | rgb >> 16;
    }
    ids.forEach((id, i) => { overlay[i] = palette[id]; });
    return new Uint8ClampedArray(overlay.buffer);
}

const requests = {
    async load({ model: url, threads, exact }) {
        const bytes = await download(url);
        model = await load(bytes, { threads, exact });
        postMessage({ type: 'ready' });
    },
    async picture({ name, source }) {
        if (!model) throw new Error('There is no model yet');
        const { canvas, image } = await pixelsOf(name, source);
        const result = model.segment(image), overlay = colours(result.ids);
        const bitmap = canvas.transferToImageBitmap();
        postMessage({ type: 'result', name, bitmap, overlay, threads: model.threads, ...result },
                    [bitmap, overlay.buffer, result.ids.buffer]);
    },
};

onmessage = async ({ data }) => {
    try {
        await requests[data.type](data);
    } catch (error) {
        postMessage({ type: 'error', text: error.message });
    }
};
