/** A class of a model. */
export interface ModelClass {
    id: number;
    name: string;
    /** As CSS writes it, "#rrggbb". */
    color: string;
}

/** A class that a picture shows. */
export interface SeenClass extends ModelClass {
    pixels: number;
    /** Of all pixels, 0 to 1. */
    share: number;
}

export interface Segmentation {
    width: number;
    height: number;
    /** The class of every pixel, row by row from the top left. */
    ids: Uint8Array;
    /** The classes that occur, the largest share first. */
    classes: SeenClass[];
    /** Milliseconds that the picture took. The first of a size takes longer. */
    ms: number;
    /** Whether the bits are those of swin.h on every other machine. */
    exact: boolean;
}

/** RGBA pixels, four bytes each, row by row: a canvas's ImageData, or an object like it. */
export interface Picture {
    width: number;
    height: number;
    data: Uint8Array | Uint8ClampedArray;
}

export interface Model {
    readonly classes: ModelClass[];
    readonly threads: number;
    /**
     * Segments a picture.
     * @throws TypeError where it is no picture, SwinhError where there is not enough memory for it
     */
    segment(image: Picture): Segmentation;
    /** Ends the threads; the model is of no use afterwards. */
    close(): void;
}

export interface Options {
    /**
     * 1 to 16, 1 if not given. In a page more than one want it cross-origin isolated, and a worker:
     * the main thread of a page may not wait.
     */
    threads?: number;
    /** Take the bits of all other machines where the fast way gives others: many times slower. */
    exact?: boolean;
}

/** What cannot be loaded, opened or run, in a sentence. */
export class SwinhError extends Error {}

/**
 * Opens a model file of swin.h.
 * @param model its bytes, of which a copy is kept
 * @throws SwinhError where they are no model, or a damaged one
 */
export function load(model: ArrayBuffer | Uint8Array, options?: Options): Promise<Model>;
