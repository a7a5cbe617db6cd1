/**
 * The thread in which stylesheets are applied (`xslt-engine.ts` starts it): the library computes without a pause, so that on the loop
 * one document would hold up every other request. It can reach neither files nor the network.
 */

import { parentPort, workerData } from 'node:worker_threads'
import { XmlParser, Xslt } from 'xslt-processor'
import { type Output, serialize, type TreeNode } from './xml-serialize.ts'
import { checkWellFormed } from './xml-text.ts'

/** What is asked. */
export interface Job {
  readonly id: number
  readonly xml: string
  readonly parameters: readonly { name: string; value: string | number | boolean }[]
}

/** What is answered. */
export type Done = { readonly id: number; readonly text: string } | { readonly id: number; readonly error: string }

const { stylesheet, output } = workerData as { stylesheet: string; output: Output }

function denied(): never {
  throw new Error('a stylesheet is applied without access to files and the network')
}
globalThis.fetch = denied
// What a stylesheet says by xsl:message goes nowhere: the library prints it, and standard output is not its own.
for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) console[method] = () => {}

parentPort!.on('message', async ({ id, xml, parameters }: Job) => {
  let done: Done
  try {
    // The library (5.1) takes what is cut short or wrongly nested for whole, finds no text in CDATA sections and "undefined" in
    // comments, and loses what is beyond U+FFFF. Nor does it escape text when it writes: the tree is written here.
    const checked = checkWellFormed(xml)
    // All made anew each time: the library keeps what it has counted, matched and stripped in them.
    const parser = new XmlParser()
    const xslt = new Xslt({ parameters: [...parameters], fetchFunction: denied, documentLoader: () => null } as never)
    const tree = await xslt.xsltProcessToDocument(parser.xmlParse(checked), parser.xmlParse(stylesheet))
    done = { id, text: serialize(tree as unknown as TreeNode, output) }
  } catch (error) {
    done = { id, error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) }
  }
  parentPort!.postMessage(done)
})
