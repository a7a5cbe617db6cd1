/** JavaScript that applications with web streams share: a stream of parts that notes its end, and a slow one. */

/** `streamOf(parts, every, whenCancelled)`: a ReadableStream of "part" lines. */
export const WEB_STREAM = `
export const notes = (globalThis.notes ??= [])
export function streamOf(parts, every, whenCancelled) {
  let timer
  return new ReadableStream({
    start(controller) {
      let left = parts
      const send = () => {
        controller.enqueue(new TextEncoder().encode('part\\n'))
        if (--left > 0) return
        clearInterval(timer)
        controller.close()
      }
      timer = setInterval(send, every)
      send()
    },
    cancel() {
      clearInterval(timer)
      if (whenCancelled) notes.push(whenCancelled)
    },
  })
}
export const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time))
`
