/**
 * The table of a mount: parses keys such as `host/path`, and looks up requests by host and path. Does not change
 * environs or call applications.
 */

import { domainToASCII } from 'node:url'
import { PrefixTree } from './prefix-tree.ts'

/** One entry of the table. */
export interface Mounted<T> {
  /** `''`, or segments that each begin with a slash; bytes as latin1, as in PATH_INFO. */
  readonly prefix: string
  /** Whether the key ended with a slash: `/static` is then redirected to `/static/`. */
  readonly directory: boolean
  readonly value: T
}

/** Number of hosts whose lookup is cached. Clients choose hosts, so there is a limit. */
const MAX_CACHED_HOSTS = 1_000
/** Longest possible host: 253 characters (RFC 1035 §2.3.4) and a port of six. */
const MAX_HOST_LENGTH = 260

export class MountTable<T> {
  readonly #exact: Map<string, PrefixTree<Mounted<T>>> = new Map()
  /** By the part after the `*`, with its dot. */
  readonly #wildcards: Map<string, PrefixTree<Mounted<T>>> = new Map()
  readonly #any: readonly PrefixTree<Mounted<T>>[] = [new PrefixTree()]
  #hasHosts = false
  /** By the Host field as the client wrote it. */
  readonly #known: Map<string, readonly PrefixTree<Mounted<T>>[]> = new Map()

  /** Number of cached hosts. */
  get cachedHosts(): number {
    return this.#known.size
  }

  /** @throws TypeError if the key is invalid, or equivalent to another key */
  add(key: string, value: T): void {
    const slash = key.indexOf('/')
    if (slash === -1) {
      throw bad(key, `it has no "/": a path begins with one ("/${key}"), and a host ends with one ("${key}/")`)
    }
    const path = key.slice(slash)
    const added = this.#treeOf(key, key.slice(0, slash)).add(prefixOf(key, path), {
      prefix: prefixOf(key, path),
      directory: path.length > 1 && path.endsWith('/'),
      value,
    })
    if (!added) throw bad(key, 'another key is equivalent (the case of hosts and a final slash do not count)')
  }

  /**
   * Finds what is mounted at a path: for the exact host if one of its prefixes matches, else for the longest matching
   * `*.` host, else for any host.
   *
   * @param host value of a Host field
   */
  find(host: string, path: string): Mounted<T> | undefined {
    for (const tree of this.#hasHosts ? this.#treesOf(host) : this.#any) {
      const found = tree.find(path)
      if (found !== undefined) return found
    }
    return undefined
  }

  #treesOf(host: string): readonly PrefixTree<Mounted<T>>[] {
    const known = this.#known.get(host)
    if (known !== undefined) return known
    if (host.length > MAX_HOST_LENGTH) return this.#any
    const trees = this.#lookUp(canonicalHost(host))
    if (this.#known.size >= MAX_CACHED_HOSTS) this.#known.clear()
    // Copied: a slice of the head would keep the whole head in memory.
    this.#known.set(Buffer.from(host, 'latin1').toString('latin1'), trees)
    return trees
  }

  #lookUp(host: string): readonly PrefixTree<Mounted<T>>[] {
    const trees: PrefixTree<Mounted<T>>[] = []
    const exact = this.#exact.get(host)
    if (exact) trees.push(exact)
    // From the second character: `*` stands for at least one character.
    for (let dot = host.indexOf('.', 1); dot !== -1; dot = host.indexOf('.', dot + 1)) {
      const wildcard = this.#wildcards.get(host.slice(dot))
      if (wildcard) trees.push(wildcard)
    }
    return trees.length === 0 ? this.#any : [...trees, ...this.#any]
  }

  #treeOf(key: string, host: string): PrefixTree<Mounted<T>> {
    if (host === '') return this.#any[0]!
    this.#hasHosts = true
    const wildcard = host.startsWith('*.')
    const name = keyHost(key, wildcard ? host.slice(2) : host)
    const trees = wildcard ? this.#wildcards : this.#exact
    const place = wildcard ? `.${name}` : name
    let tree = trees.get(place)
    if (tree === undefined) trees.set(place, (tree = new PrefixTree()))
    return tree
  }
}

/** The name in a Host field: lower case, without port and without a final dot (RFC 9110 §4.2.3). */
export function canonicalHost(host: string): string {
  const lower = host.toLowerCase()
  if (lower.startsWith('[')) {
    const end = lower.indexOf(']')
    return end === -1 ? lower : canonicalAddress(lower.slice(0, end + 1))
  }
  const colon = lower.indexOf(':')
  const name = colon === -1 ? lower : lower.slice(0, colon)
  return name.endsWith('.') ? name.slice(0, -1) : name
}

/** `[0:0::1]` → `[::1]`: an IPv6 address has many spellings. */
function canonicalAddress(bracketed: string): string {
  const url = `http://${bracketed}/`
  return URL.canParse(url) ? new URL(url).hostname : bracketed
}

function keyHost(key: string, host: string): string {
  if (host.startsWith('[')) {
    const address = canonicalAddress(host.toLowerCase())
    if (!host.endsWith(']') || !URL.canParse(`http://${host}/`))
      throw bad(key, `${host} is not an IPv6 address in brackets`)
    return address
  }
  if (host.includes('*')) {
    throw bad(
      key,
      'a "*" stands only for the first labels of a name ("*.example.com/"); a key for any host is a path alone',
    )
  }
  if (host.includes(':')) {
    throw bad(key, 'it has a scheme or a port: hosts are distinguished by name alone, whatever the port of the request')
  }
  const ascii = /^[\x20-\x7e]*$/.test(host) ? host.toLowerCase() : domainToASCII(host)
  const name = ascii.endsWith('.') ? ascii.slice(0, -1) : ascii
  if (!/^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(name)) throw bad(key, `${JSON.stringify(host)} is not a host name`)
  return name
}

function prefixOf(key: string, path: string): string {
  if (/[?#%\\\x00-\x1f\x7f]/.test(path)) {
    throw bad(key, 'it is compared with decoded paths: write it without escapes ("/a b" for /a%20b), "?" and "#"')
  }
  const prefix = path.endsWith('/') ? path.slice(0, -1) : path
  if (prefix === '') return ''
  for (const segment of prefix.slice(1).split('/')) {
    if (segment === '' || segment === '.' || segment === '..') throw bad(key, 'it has an empty segment, "." or ".."')
  }
  // PATH_INFO has bytes as latin1.
  return Buffer.from(prefix, 'utf8').toString('latin1')
}

function bad(key: string, why: string): TypeError {
  return new TypeError(`${JSON.stringify(key)} is not a valid mount key: ${why}`)
}
