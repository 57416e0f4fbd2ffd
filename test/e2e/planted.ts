/** Secrets that are planted in a run, and the search for them in all that the run leaves behind. */
import { randomBytes } from 'node:crypto';

/** A value that must not be found, with what it is called where it was. */
export interface Planted {
  readonly name: string;
  readonly text: string;
  /** Parts of it that stand for it where a copy was cut: letters and digits, which no encoding of texts changes. */
  readonly cores: readonly string[];
}

/** A part of a core that is found is a trace; so many characters are there by chance nowhere. */
const LEAST_TRACE = 10;

function core(): string {
  return randomBytes(12).toString('hex');
}

/** Makes up a secret with all signs that encodings write in another way. */
export function plantedSecret(): Planted {
  const cores = [core(), core()];
  return { name: 'the secret', text: `${cores[0]} "é€😀" /+&=?<>%\\\n\t'$\{{ x }} ${cores[1]}`, cores };
}

/** Makes up a key that a header can carry. */
export function plantedKey(name: string): Planted {
  const cores = [core(), core()];
  return { name, text: `${cores[0]}/+&="<>%\\${cores[1]}`, cores };
}

/** A key of 32 bytes that exists already; its base64 has no other form than its cores. */
export function plantedBytes(name: string, base64: string): Planted {
  const digits = base64.replace(/=+$/, '');
  return { name, text: digits, cores: [digits.slice(0, 20), digits.slice(20)] };
}

/** What base64 makes of a text, wherever in a longer text it begins: without the digits that its neighbours change. */
function base64Of(bytes: Buffer): readonly string[] {
  return [0, 1, 2].flatMap((before) => {
    const digits = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    const inner = digits.slice(Math.ceil((before * 4) / 3), -1);
    return [inner, inner.replaceAll('+', '-').replaceAll('/', '_')];
  });
}

function encodingsOf(text: string): ReadonlyMap<string, readonly string[]> {
  const bytes = Buffer.from(text);
  const hex = bytes.toString('hex');
  return new Map([
    ['plain', [text]],
    ['JSON', [JSON.stringify(text).slice(1, -1), JSON.stringify(JSON.stringify(text)).slice(3, -3)]],
    ['URL', [encodeURIComponent(text), new URLSearchParams({ text }).toString().slice('text='.length)]],
    ['base64', base64Of(bytes)],
    ['hex', [hex, hex.toUpperCase()]],
  ]);
}

/** Every part of a core that is long enough to be a trace. */
function partsOf(text: string): readonly string[] {
  return Array.from({ length: text.length - LEAST_TRACE + 1 }, (_, from) => text.slice(from, from + LEAST_TRACE));
}

function isIn(place: Buffer, text: string): boolean {
  return place.includes(text) || place.includes(Buffer.from(text, 'utf16le'));
}

/**
 * Searches a place for a planted value, whole or in parts, in every form that it could be written in.
 *
 * @returns the forms in which it is there; none when it is not.
 */
export function tracesOf(planted: Planted, place: Buffer | string): readonly string[] {
  const bytes = typeof place === 'string' ? Buffer.from(place) : place;
  const found = new Set<string>();
  for (const text of [planted.text, ...planted.cores]) {
    for (const [form, writings] of encodingsOf(text)) {
      if (writings.some((writing) => isIn(bytes, writing))) found.add(form);
    }
  }
  if (planted.cores.flatMap(partsOf).some((part) => isIn(bytes, part))) found.add('part');
  return [...found];
}
