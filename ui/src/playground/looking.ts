// What somebody looks at when they go to the playground: it opens with that.

import { useEffect } from "react";

type Body = Record<string, unknown>;

export interface Sight {
  model?: string;
  body?: Body | null;
}

let sight: Sight = {};

/** What is on the page that is left. */
export const inSight = (): Sight => sight;

/** As long as the page is shown, this is what is looked at. */
export function useLookingAt(model: string | undefined, body?: Body | null): void {
  useEffect(() => {
    const own = { model, body };
    sight = own;
    return () => {
      if (sight === own) sight = {};
    };
  }, [model, body]);
}
