/**
 * Masks white space around `;` and `=` of chunk extensions, which RFC 9112 §7.1.1 tells recipients to accept (BWS) and
 * llhttp refuses. Works on llhttp's copy of the body, before llhttp parses it.
 */

// From the first such white space on, the rest of the chunk line is overwritten with bytes that llhttp accepts, of the
// same length. A byte there that breaks the RFC's grammar is overwritten with one that llhttp refuses. Lines without
// such white space are not changed: llhttp alone decides about them.

const SIZE = 0
/** After `;`: a name follows. */
const NAME_START = 1
const NAME = 2
/** White space after a name: `;` or `=` follows. */
const AFTER_NAME = 3
/** After `=`. */
const VALUE_START = 4
const VALUE = 5
const QUOTED = 6
const ESCAPE = 7
const QUOTED_END = 8
/** White space after a size or a value: only `;` may follow, since nothing else could end the line. */
const AFTER_VALUE = 9
const LINE_LF = 10
const DATA = 11
const DATA_CR = 12
const DATA_LF = 13
/** After the last chunk's line, and after a line that llhttp refuses. */
const REST = 14

const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const QUOTE = 0x22
const SEMICOLON = 0x3b
const EQUALS = 0x3d
const BACKSLASH = 0x5c

/** A character of a token: it extends a name or a value. */
const FILLER = 0x61
/** A byte that no chunk line may hold. */
const REFUSED = 0x01

const IS_TOKEN: Uint8Array = new Uint8Array(256)
for (const character of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  IS_TOKEN[character.charCodeAt(0)] = 1
}

/** Tracks one chunked body. */
export class ChunkLines {
  /** Bytes of chunk data in the last call of `follow`: llhttp must find the same number. */
  data = 0
  #state = SIZE
  /** Size of the current chunk; while its data is read, the bytes that are left. */
  #size = 0
  /** Whether the rest of this line is overwritten. */
  #masked = false

  /**
   * Reads the next bytes of the body, `memory` from `start` to `end`, and overwrites those that llhttp would refuse.
   */
  follow(memory: Uint8Array, start: number, end: number): void {
    this.data = 0
    for (let at = start; at < end; at++) {
      if (this.#state === DATA) {
        const length = Math.min(this.#size, end - at)
        this.#size -= length
        this.data += length
        at += length
        if (this.#size > 0) return
        this.#state = DATA_CR
        if (at === end) return
      }
      if (this.#state === REST) return
      const code = memory[at]!
      const next = this.#next(code)
      if (next === undefined) {
        // An unmasked line is not changed: llhttp refuses it by itself.
        if (this.#masked) memory[at] = REFUSED
        this.#state = REST
        return
      }
      if (isBlank(code) && isOutsideQuotes(this.#state) && !this.#masked) {
        this.#masked = true
        // After a size or a quoted value llhttp expects another extension.
        memory[at] = this.#state === SIZE || this.#state === QUOTED_END ? SEMICOLON : FILLER
      } else if (this.#masked) {
        if (code === CR) this.#masked = false
        else memory[at] = FILLER
      }
      this.#state = next
    }
  }

  /** The state after a byte; undefined if the grammar does not allow the byte. */
  #next(code: number): number | undefined {
    switch (this.#state) {
      case SIZE: {
        const digit = hexadecimal(code)
        if (digit !== -1) {
          this.#size = this.#size * 16 + digit
          return SIZE
        }
        return isBlank(code) ? AFTER_VALUE : endOf(code)
      }
      case NAME_START:
        return isBlank(code) ? NAME_START : IS_TOKEN[code] ? NAME : undefined
      case NAME:
        if (IS_TOKEN[code]) return NAME
        return code === EQUALS ? VALUE_START : isBlank(code) ? AFTER_NAME : endOf(code)
      case AFTER_NAME:
        if (isBlank(code)) return AFTER_NAME
        return code === EQUALS ? VALUE_START : code === SEMICOLON ? NAME_START : undefined
      case VALUE_START:
        if (isBlank(code)) return VALUE_START
        return code === QUOTE ? QUOTED : IS_TOKEN[code] ? VALUE : undefined
      case VALUE:
        return IS_TOKEN[code] ? VALUE : isBlank(code) ? AFTER_VALUE : endOf(code)
      case QUOTED:
        if (code === QUOTE) return QUOTED_END
        return code === BACKSLASH ? ESCAPE : isText(code) ? QUOTED : undefined
      case ESCAPE:
        return isText(code) ? QUOTED : undefined
      case QUOTED_END:
        return isBlank(code) ? AFTER_VALUE : endOf(code)
      case AFTER_VALUE:
        return isBlank(code) ? AFTER_VALUE : code === SEMICOLON ? NAME_START : undefined
      case LINE_LF:
        if (code !== LF) return undefined
        return this.#size === 0 ? REST : DATA
      case DATA_CR:
        return code === CR ? DATA_LF : undefined
      default: // DATA_LF
        return code === LF ? SIZE : undefined
    }
  }
}

/** The state after a byte that ends an extension or the line; undefined for other bytes. */
function endOf(code: number): number | undefined {
  return code === SEMICOLON ? NAME_START : code === CR ? LINE_LF : undefined
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB
}

/** RFC 9110 §5.6.4: a character that a quoted-string may contain or escape. */
function isText(code: number): boolean {
  return code === TAB || (code >= SPACE && code !== 0x7f)
}

function isOutsideQuotes(state: number): boolean {
  return state !== QUOTED && state !== ESCAPE
}

function hexadecimal(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const letter = code | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1
}
