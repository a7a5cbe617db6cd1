/** Paths of the development server itself: the application gets no request below the prefix. */

export const DEV_PREFIX = '/.gantry/dev/'
/** The event stream that tells a page that it is out of date. */
export const EVENTS_PATH: string = `${DEV_PREFIX}events`
/** The page about the error of the last load. */
export const ERROR_PATH: string = `${DEV_PREFIX}error`
/** The window name of the frame that shows a failed load on the application's pages. */
export const OVERLAY_NAME = 'gantry-dev-overlay'
