// Shows a stream of JPEG pictures on a canvas.
//
// Owns no clock: a picture is shown when it came. While one is being decoded only the newest of the others is kept, so a slow
// machine sees fewer pictures, never older ones.

import { JpegSplitter } from './jpeg-splitter.js';

export class JpegStage {
  #canvas;
  #context;
  #splitter = new JpegSplitter();
  #newest = null;
  #decoding = false;
  #ended = false;
  #shown = 0;
  #dropped = 0;

  /** Whether more media is to be expected makes no difference to pictures without a timeline. */
  flowing = true;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext('2d', { alpha: false });
  }

  push(chunk) {
    for (const picture of this.#splitter.push(new Uint8Array(chunk))) {
      if (this.#newest) this.#dropped += 1;
      this.#newest = picture;
    }
    this.#decode();
  }

  get figures() {
    return {
      width: this.#canvas.width,
      height: this.#canvas.height,
      buffered: 0,
      target: 0,
      starved: this.#shown === 0,
      framesShown: this.#shown,
      framesDropped: this.#dropped,
    };
  }

  end() {
    this.#ended = true;
  }

  async #decode() {
    if (this.#decoding) return;
    this.#decoding = true;
    while (this.#newest && !this.#ended) {
      const picture = this.#newest;
      this.#newest = null;
      try {
        const bitmap = await createImageBitmap(new Blob([picture], { type: 'image/jpeg' }));
        if (!this.#ended) this.#show(bitmap);
        bitmap.close();
      } catch {
        this.#dropped += 1; // a damaged picture; the next one does not depend on it
      }
    }
    this.#decoding = false;
  }

  #show(bitmap) {
    const canvas = this.#canvas;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    this.#context.drawImage(bitmap, 0, 0);
    this.#shown += 1;
  }
}
