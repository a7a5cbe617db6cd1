/**
 * Finds the longest of many path prefixes that matches a path in whole segments. A compressed tree of characters: a
 * lookup costs the length of the prefix, whatever the number of prefixes, and allocates nothing.
 */

interface Node<T> {
  label: string
  value: T | undefined
  readonly children: Map<number, Node<T>>
}

export class PrefixTree<T> {
  readonly #root: Node<T> = { label: '', value: undefined, children: new Map() }

  /**
   * Adds a prefix. Returns false if it exists already.
   *
   * @param prefix `''`, or segments that each begin with a slash
   */
  add(prefix: string, value: T): boolean {
    let node = this.#root
    let at = 0
    while (at < prefix.length) {
      const code = prefix.charCodeAt(at)
      const child = node.children.get(code)
      if (child === undefined) {
        const leaf: Node<T> = { label: prefix.slice(at), value, children: new Map() }
        node.children.set(code, leaf)
        return true
      }
      const common = commonLength(child.label, prefix, at)
      if (common < child.label.length) split(node, child, common)
      node = node.children.get(code)!
      at += common
    }
    if (node.value !== undefined) return false
    node.value = value
    return true
  }

  /**
   * Returns the value of the longest prefix. `/static` is a prefix of `/static` and `/static/x`, but not of `/staticx`.
   */
  find(path: string): T | undefined {
    let node = this.#root
    let at = 0
    let found = isBorder(path, 0) ? node.value : undefined
    for (;;) {
      const child = node.children.get(path.charCodeAt(at))
      if (child === undefined || !path.startsWith(child.label, at)) return found
      at += child.label.length
      if (child.value !== undefined && isBorder(path, at)) found = child.value
      node = child
    }
  }
}

/** Inserts a node for the first `length` characters of `child` between `child` and `parent`. */
function split<T>(parent: Node<T>, child: Node<T>, length: number): void {
  const middle: Node<T> = { label: child.label.slice(0, length), value: undefined, children: new Map() }
  parent.children.set(middle.label.charCodeAt(0), middle)
  child.label = child.label.slice(length)
  middle.children.set(child.label.charCodeAt(0), child)
}

function commonLength(label: string, text: string, from: number): number {
  let length = 0
  while (length < label.length && label.charCodeAt(length) === text.charCodeAt(from + length)) length++
  return length
}

function isBorder(path: string, at: number): boolean {
  return at === path.length || path.charCodeAt(at) === 0x2f
}
