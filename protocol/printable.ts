/** Escapes characters of a peer's text that would move a terminal's cursor, hide or reverse text, or end a log line. */

/**
 * DEL and C1 controls (U+009B begins an ANSI escape sequence, U+0085 is a line end), line and paragraph separators, and
 * invisible and bidirectional characters (UTS #55, "Trojan Source"). JSON does not escape any of them.
 */
const UNSEEN = '\\x7f-\\x9f\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb'
const UNSEEN_ALONE: RegExp = new RegExp(`[${UNSEEN}]`, 'g')
const UNSEEN_AND_CONTROLS: RegExp = new RegExp(`[\\x00-\\x1f${UNSEEN}]`, 'g')

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/**
 * For JSON lines, which stay JSON, and other lines whose controls below U+0020 are wanted or escaped already. Most text
 * is ASCII: the test for that costs a hundredth of the regular expression.
 */
export function printableLines(text: string): string {
  if (Buffer.byteLength(text) === text.length && !text.includes('\x7f')) return text
  return text.replace(UNSEEN_ALONE, escaped)
}

/** For one value or message in a line of plain text. */
export function printable(text: string): string {
  return text.replace(UNSEEN_AND_CONTROLS, escaped)
}

/** As `printable`, with the line ends and tabs of a stack. */
export function printableStack(text: string): string {
  return text.replace(UNSEEN_AND_CONTROLS, (character) =>
    character === '\n' || character === '\t' ? character : escaped(character),
  )
}
