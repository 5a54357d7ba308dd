// Cuts a byte stream into JPEG pictures, wherever the chunks are cut. Pure.
//
// Markers are followed by their lengths, not searched for: an Exif thumbnail is a whole JPEG inside a segment, and its end
// marker is not the picture's. What stands between pictures (multipart headers, line breaks) is dropped.

// A picture larger than this is not a picture but a lost end marker; the splitter starts again at the next one.
const PICTURE_BYTES_MAX = 16 * 1024 * 1024;

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const TEM = 0x01;

const isRestart = (marker) => marker >= 0xd0 && marker <= 0xd7;

export class JpegSplitter {
  #bytes = new Uint8Array(0);
  /** Where the next look begins, in `#bytes`. */
  #at = 0;
  /** `seek` a picture's begin, at a `marker`, or in entropy-coded `scan` data. */
  #state = 'seek';

  /** Takes bytes in, gives back the pictures they complete. */
  push(chunk) {
    this.#append(chunk);
    const pictures = [];
    while (this.#step(pictures));
    if (this.#bytes.length > PICTURE_BYTES_MAX) this.#drop(this.#bytes.length);
    return pictures;
  }

  #append(chunk) {
    const joined = new Uint8Array(this.#bytes.length + chunk.length);
    joined.set(this.#bytes);
    joined.set(chunk, this.#bytes.length);
    this.#bytes = joined;
  }

  /** Forgets everything before `end` and looks for a new picture. */
  #drop(end) {
    this.#bytes = this.#bytes.subarray(end);
    this.#at = 0;
    this.#state = 'seek';
  }

  /** One move forward; false when more bytes are needed. */
  #step(pictures) {
    switch (this.#state) {
      case 'seek':
        return this.#seek();
      case 'marker':
        return this.#marker(pictures);
      default:
        return this.#scan();
    }
  }

  #seek() {
    const bytes = this.#bytes;
    for (let at = bytes.indexOf(0xff); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
      if (at + 1 === bytes.length) {
        this.#drop(at);
        return false;
      }
      if (bytes[at + 1] === SOI) {
        this.#drop(at);
        this.#at = 2;
        this.#state = 'marker';
        return true;
      }
    }
    this.#drop(bytes.length);
    return false;
  }

  #marker(pictures) {
    const bytes = this.#bytes;
    const at = this.#at;
    if (at + 2 > bytes.length) return false;
    if (bytes[at] !== 0xff) {
      this.#drop(at);
      return true;
    }
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      this.#at = at + 1; // a fill byte
      return true;
    }
    if (marker === EOI) {
      pictures.push(bytes.slice(0, at + 2));
      this.#drop(at + 2);
      return true;
    }
    if (marker === SOI) {
      this.#drop(at); // the picture before was cut short
      return true;
    }
    if (marker === TEM || isRestart(marker)) {
      this.#at = at + 2;
      return true;
    }
    if (at + 4 > bytes.length) return false;
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    const end = at + 2 + length;
    if (end > bytes.length) return false;
    this.#at = end;
    this.#state = marker === SOS ? 'scan' : 'marker';
    return true;
  }

  #scan() {
    const bytes = this.#bytes;
    for (let at = bytes.indexOf(0xff, this.#at); at >= 0; at = bytes.indexOf(0xff, at + 2)) {
      if (at + 1 >= bytes.length) {
        this.#at = at;
        return false;
      }
      const next = bytes[at + 1];
      if (next !== 0 && !isRestart(next)) {
        this.#at = at;
        this.#state = 'marker';
        return true;
      }
    }
    this.#at = bytes.length;
    return false;
  }
}
