// The identity provider by Firebase's SDK: Firebase itself, Google's emulator or the local identity server.
//
// It signs in for as long as the page lasts: tokens and passwords are kept in memory alone, never in the browser.
import { initializeApp } from "@firebase/app";
import {
  applyActionCode,
  browserPopupRedirectResolver,
  confirmPasswordReset,
  connectAuthEmulator,
  createUserWithEmailAndPassword,
  GoogleAuthProvider,
  inMemoryPersistence,
  initializeAuth,
  sendPasswordResetEmail,
  signInWithEmailAndPassword,
  signInWithPopup,
  updateProfile,
  verifyPasswordResetCode,
} from "@firebase/auth";

// Each function throws the SDK's errors, whose `code` is "auth/...".
export function openIdentity({ apiKey, projectId, authDomain, emulator, hasGoogle }) {
  const auth = initializeAuth(initializeApp({ apiKey, projectId, authDomain }), {
    persistence: inMemoryPersistence,
    // on phones the SDK loads Google's script for it at once, which the policy forbids where Google is not offered
    popupRedirectResolver: hasGoogle ? browserPopupRedirectResolver : undefined,
  });
  if (emulator) connectAuthEmulator(auth, emulator, { disableWarnings: true });
  let created = null; // whom this page has created: what failed after that is tried again without it

  return {
    async signIn(email, password) {
      const { user } = await signInWithEmailAndPassword(auth, email, password);
      return user.getIdToken();
    },

    async signUp(name, email, password) {
      if (created?.email !== email || created.password !== password) {
        const { user } = await createUserWithEmailAndPassword(auth, email, password);
        created = { email, password, user };
      }
      if (created.user.displayName !== name) await updateProfile(created.user, { displayName: name });
      return created.user.getIdToken(true); // the first token has no name
    },

    hasCreated: (email) => created?.email === email,

    async signInWithGoogle() {
      const { user } = await signInWithPopup(auth, new GoogleAuthProvider());
      return user.getIdToken();
    },

    sendResetLink: (email) => sendPasswordResetEmail(auth, email),
    findEmailOfCode: (code) => verifyPasswordResetCode(auth, code),
    setPassword: (code, password) => confirmPasswordReset(auth, code, password),
    verifyEmail: (code) => applyActionCode(auth, code),
  };
}
