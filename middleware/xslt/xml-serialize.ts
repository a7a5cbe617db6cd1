/**
 * Writes a result tree as text by the rules of XSLT 1.0 §16 (xml, html, text). Text of the document is always escaped,
 * and names are checked, so that a document cannot add markup to the page.
 */

import { notXml, xmlName } from './xml-text.ts'

/** A DOM node with the properties that are read here. Attributes may be among the children. */
export interface TreeNode {
  readonly nodeType: number
  readonly nodeName: string
  readonly nodeValue: string | null
  readonly childNodes?: readonly TreeNode[] | null
  /** False if the stylesheet sets `disable-output-escaping`. */
  readonly escape?: boolean
}

export type OutputMethod = 'html' | 'text' | 'xhtml' | 'xml'

/** The settings of `xsl:output`. */
export interface Output {
  readonly method: OutputMethod
  readonly omitDeclaration: boolean
  readonly doctypePublic: string | undefined
  readonly doctypeSystem: string | undefined
}

const ELEMENT = 1
const ATTRIBUTE = 2
const CDATA = 4
const INSTRUCTION = 7
const COMMENT = 8

/** HTML elements without an end tag. */
const VOID = new Set(
  'area base basefont br col embed frame hr img input isindex link meta param source track wbr'.split(' '),
)

/** @throws Error if a name or a character is not allowed in XML */
export function serialize(document: TreeNode, output: Output): string {
  const parts: string[] = []
  const root = document.childNodes?.find((node) => node.nodeType === ELEMENT)
  if (output.method === 'text') {
    textOf(document, parts)
    return checked(parts.join(''))
  }
  if (output.method !== 'html' && !output.omitDeclaration) parts.push('<?xml version="1.0" encoding="UTF-8"?>\n')
  for (const node of document.childNodes ?? []) {
    if (node === root) parts.push(doctype(root.nodeName, output))
    write(node, output.method === 'html', false, parts)
  }
  return checked(parts.join(''))
}

function doctype(name: string, { method, doctypePublic, doctypeSystem }: Output): string {
  if (doctypeSystem === undefined && (method !== 'html' || doctypePublic === undefined)) return ''
  const system = doctypeSystem === undefined ? '' : ` "${doctypeSystem.replaceAll('"', '')}"`
  const kind =
    doctypePublic === undefined ? ` SYSTEM${system}` : ` PUBLIC "${doctypePublic.replaceAll('"', '')}"${system}`
  return `<!DOCTYPE ${name}${kind}>\n`
}

function textOf(node: TreeNode, parts: string[]): void {
  for (const child of node.childNodes ?? []) {
    if (child.nodeType === ELEMENT) textOf(child, parts)
    else if (isText(child)) parts.push(child.nodeValue ?? '')
  }
}

/** @param raw whether the node is in an HTML script or style element, whose text has no escapes */
function write(node: TreeNode, html: boolean, raw: boolean, parts: string[]): void {
  const value = node.nodeValue ?? ''
  if (node.nodeType === ELEMENT) writeElement(node, html, parts)
  else if (isText(node)) parts.push(node.escape === false ? value : raw ? rawText(value) : escapeText(value))
  else if (node.nodeType === COMMENT) parts.push(`<!--${value.replace(/-(?=-|$)/g, '- ').replace(/^(?=-?>)/, ' ')}-->`)
  else if (node.nodeType === INSTRUCTION)
    parts.push(`<?${named(node)} ${value.replaceAll('?>', '? >')}${html ? '>' : '?>'}`)
}

function writeElement(node: TreeNode, html: boolean, parts: string[]): void {
  const name = named(node)
  const lower = name.toLowerCase()
  parts.push('<', name)
  const seen = new Set<string>()
  const children: TreeNode[] = []
  for (const child of node.childNodes ?? []) {
    if (child.nodeType !== ATTRIBUTE) children.push(child)
    else if (!seen.has(child.nodeName)) {
      seen.add(child.nodeName)
      parts.push(' ', named(child), '="', escapeAttribute(child.nodeValue ?? ''), '"')
    }
  }
  if (html && VOID.has(lower)) {
    parts.push('>')
    return
  }
  if (!html && children.length === 0) {
    parts.push('/>')
    return
  }
  parts.push('>')
  const raw = html && (lower === 'script' || lower === 'style')
  for (const child of children) write(child, html, raw, parts)
  parts.push('</', name, '>')
}

function isText({ nodeType }: TreeNode): boolean {
  return nodeType === 3 || nodeType === CDATA
}

function named({ nodeName }: TreeNode): string {
  if (!xmlName.test(nodeName)) throw new Error(`the stylesheet generated the invalid name ${JSON.stringify(nodeName)}`)
  return nodeName
}

/** Script and style elements have no escapes: text that would end the element is written as a JavaScript escape. */
function rawText(value: string): string {
  return value.replace(/<(?=\/?(?:script|style)|!--)/gi, '\\u003c')
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
}

function escapeText(value: string): string {
  return value.replace(/[&<>\r]/g, (character) => ESCAPES[character]!)
}

function escapeAttribute(value: string): string {
  return value.replace(/[&<>"\t\n\r]/g, (character) => ESCAPES[character]!)
}

function checked(text: string): string {
  const bad = notXml.exec(text)
  if (bad)
    throw new Error(`the stylesheet generated U+${bad[0].codePointAt(0)!.toString(16)}, which XML does not allow`)
  return text
}
