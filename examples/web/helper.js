/* A thread of swinh.js: takes part in every step of a run, over the memory of the first instance. */

const node = typeof process === 'object' && !!process.versions?.node;
const port = node ? (await import('node:worker_threads')).parentPort : self;

function help({ module, memory, stack }) {
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    exports.__stack_pointer.value = stack;
    const job = new Int32Array(memory.buffer, exports.job_number(), 1);
    port.postMessage('ready');
    for (let seen = 0; ; seen = seen + 1 | 0) {
        while (Atomics.load(job, 0) === seen) Atomics.wait(job, 0, seen);
        exports.help();
    }
}

if (node) port.once('message', help);
else self.onmessage = event => help(event.data);
