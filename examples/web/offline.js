/* The service worker: what came through the network once is there without it, too. */

const CACHE = 'swinh';
const PAGE = ['./', 'style.css', 'page.js', 'worker.js', 'swinh.js', 'helper.js'];

addEventListener('install', event => event.waitUntil(
    caches.open(CACHE).then(cache => cache.addAll(PAGE)).then(() => skipWaiting())));
addEventListener('activate', event => event.waitUntil(clients.claim()));

/* Of the network, and kept; of what was kept where there is no network. */
async function answer(request) {
    const cache = await caches.open(CACHE);
    try {
        const fresh = await fetch(request);
        if (fresh.ok) await cache.put(request, fresh.clone());
        return fresh;
    } catch (error) {
        const kept = await cache.match(request, { ignoreSearch: request.mode === 'navigate' });
        if (kept) return kept;
        throw error;
    }
}

addEventListener('fetch', event => {
    const { method, url } = event.request;
    if (method === 'GET' && new URL(url).origin === location.origin)
        event.respondWith(answer(event.request));
});
