/**
 * A base class whose constructor returns its argument, so that a subclass adds private fields to an existing object.
 */

export const ReturnOverride: new (object: object) => object = class {
  constructor(object: object) {
    // biome-ignore lint/correctness/noConstructorReturn: that is what it is for
    return object
  }
}
