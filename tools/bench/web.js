/* A worker of web.py's page: loads an engine, then runs it once for each message. */

import { load } from './swinh.js';

const bytes = async name => new Uint8Array(await (await fetch(name)).arrayBuffer());

const engines = {
    async swinh({ threads, width, height }) {
        const model = await load(await bytes('model.swin'), { threads });
        const image = { width, height, data: await bytes('picture.rgba') };
        return () => model.segment(image).ids;
    },
    async 'onnxruntime-web'({ threads, width, height }) {
        const ort = await import('./ort/ort.wasm.min.mjs');
        ort.env.wasm.numThreads = threads;
        const session = await ort.InferenceSession.create(await bytes('work.onnx'),
                                                          { executionProviders: ['wasm'] });
        const floats = new Float32Array((await bytes('picture.floats')).buffer);
        const input = new ort.Tensor('float32', floats, [1, 3, height, width]);
        return async () => (await session.run({ input })).output0.data;
    },
};

let run;

async function answer({ engine, classes, ...message }) {
    if (message.load) {
        run = await engines[engine](message);
        return {};
    }
    const start = performance.now(), ids = await run(), ms = performance.now() - start;
    return classes ? { classes: Array.from(ids, Number) } : { ms };
}

onmessage = ({ data }) => answer(data).then(postMessage, e => postMessage({ error: String(e) }));
