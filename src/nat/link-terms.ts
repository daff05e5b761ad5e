/** What a session begins with. */
export interface LinkTerms {
  /** The member may not know where this node may be: it is told. */
  readonly tell: boolean;
  /** The way in use is asked, although there is no other: for where the member sees this node. */
  readonly observe: boolean;
  /** There is something for it, or the mesh is small: else it is only asked whether it lives. */
  readonly seek: boolean;
}
