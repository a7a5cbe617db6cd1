/** Neither listens nor exports. */

export {}
