/* The page: takes pictures, hands them to worker.js, shows what comes back. */

const element = id => document.getElementById(id);
const stage = element('stage'), picture = element('picture'), map = element('map');
const pointer = element('pointer'), video = element('video');

let worker, seen = null, filming = null, busy = false;

function say(text, isError = false) {
    element('status').textContent = text;
    element('status').classList.toggle('error', isError);
}

/* ---- results ---- */

function showLegend({ classes, ms, exact, threads }) {
    element('legend').replaceChildren(...classes.map(({ name, color, share }) => {
        const item = document.createElement('li'), swatch = document.createElement('i');
        const label = document.createElement('span'), percent = document.createElement('b');
        swatch.style.background = color;
        label.textContent = name;
        percent.textContent = `${(100 * share).toFixed(1)} %`;
        item.append(swatch, label, percent);
        return item;
    }));
    element('speed').textContent = `${ms.toFixed(0)} ms a picture, ${threads} ` +
        `thread${threads > 1 ? 's' : ''}; ${exact ? 'the bits of every other machine'
                                                   : 'last bits may differ from other machines'}`;
}

function show(result) {
    const { width, height, bitmap, overlay } = result;
    seen = result;
    for (const canvas of [picture, map]) Object.assign(canvas, { width, height });
    picture.getContext('2d').drawImage(bitmap, 0, 0);
    map.getContext('2d').putImageData(new ImageData(overlay, width, height), 0, 0);
    bitmap.close();
    stage.classList.remove('empty');
    showLegend(result);
    say(filming ? 'Camera' : `${result.name}, ${width} × ${height}`);
}

/* The class below a place of the window, and its name beside it. */
function point(event) {
    const box = map.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    if (!seen || x < 0 || y < 0 || x >= box.width || y >= box.height) return;
    const column = Math.floor(x / box.width * seen.width);
    const row = Math.floor(y / box.height * seen.height);
    const id = seen.ids[row * seen.width + column];
    pointer.textContent = seen.classes.find(c => c.id === id)?.name ?? '';
    pointer.style.left = `${x}px`;
    pointer.style.top = `${y}px`;
}

/* ---- pictures ---- */

function segment(message, transfer) {
    busy = true;
    worker.postMessage({ type: 'picture', ...message }, transfer);
}

function take(file) {
    if (!file || !worker) return;
    stopFilming();
    say(`Looking at ${file.name}`);
    segment({ name: file.name, source: file });
}

async function film() {
    if (!filming || busy) return;
    const bitmap = await createImageBitmap(video);
    if (filming) segment({ name: 'camera', source: bitmap }, [bitmap]);
}

async function startFilming() {
    if (!navigator.mediaDevices)
        return say('The camera wants a page that came through https or from this machine', true);
    try {
        filming = await navigator.mediaDevices.getUserMedia(
            { video: { facingMode: 'environment' } });
    } catch (error) {
        return say(`The camera cannot be used: ${error.message}`, true);
    }
    filming.getVideoTracks()[0].onended = () => {
        stopFilming();
        say('The camera went away', true);
    };
    video.srcObject = filming;
    await video.play();
    element('camera').textContent = 'Stop the camera';
    film();
}

function stopFilming() {
    filming?.getTracks().forEach(track => track.stop());
    filming = video.srcObject = null;
    element('camera').textContent = 'Use the camera';
}

/* ---- the worker ---- */

const answers = {
    progress({ part, text }) {
        element('progress').value = part;
        say(text);
    },
    ready() {
        element('progress').classList.add('done');
        for (const id of ['file', 'camera']) element(id).disabled = false;
        say('Ready for a picture');
    },
    result(message) {
        busy = false;
        show(message);
        film();
    },
    error({ text }) {
        busy = false;
        stopFilming();
        say(text, true);
    },
};

function startWorker() {
    const query = new URLSearchParams(location.search);
    worker = new Worker('worker.js', { type: 'module' });
    worker.onmessage = ({ data }) => answers[data.type](data);
    worker.onerror = event => say(`The page's worker failed: ${event.message}`, true);
    worker.postMessage({
        type: 'load',
        model: query.get('model') ?? 'street.swin',
        threads: crossOriginIsolated ? Number(query.get('threads'))
                                       || Math.min(navigator.hardwareConcurrency, 8) : 1,
        exact: query.has('exact'),
    });
}

/* The service worker keeps all that is fetched from here on for the next time, off-line too. */
async function keepForLater() {
    if (!('serviceWorker' in navigator)) return;
    await navigator.serviceWorker.register('offline.js');
    if (navigator.serviceWorker.controller) return;
    await new Promise(controls => {
        navigator.serviceWorker.addEventListener('controllerchange', controls, { once: true });
        setTimeout(controls, 3000);
    });
}

for (const id of ['file', 'camera']) element(id).disabled = true;
element('file').onchange = ({ target }) => {
    take(target.files[0]);
    target.value = '';
};
element('camera').onclick = () => filming ? stopFilming() : startFilming();
element('opacity').oninput = ({ target }) => { map.style.opacity = target.value / 100; };
stage.onpointermove = point;
stage.onpointerleave = () => { pointer.textContent = ''; };
stage.ondragover = event => { event.preventDefault(); stage.classList.add('over'); };
stage.ondragleave = () => stage.classList.remove('over');
stage.ondrop = event => {
    event.preventDefault();
    stage.classList.remove('over');
    take(event.dataTransfer.files[0]);
};
keepForLater().catch(() => {}).then(startWorker);
